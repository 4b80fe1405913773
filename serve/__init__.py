"""Everything on one machine with one command: a Redis, a worker and the app, kept alive together."""
