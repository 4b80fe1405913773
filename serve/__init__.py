"""The whole service on one machine: Redis, a worker and the app under one supervisor."""
