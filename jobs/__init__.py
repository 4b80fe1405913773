"""The contract between app and worker: what a request, a job, an event and a model card look like, and where
they lie in Redis. Knows pydantic and redis; no torch, no fastapi."""
