"""The names of all Redis keys but RQ's."""

from __future__ import annotations

import hashlib

QUEUE = "noisemill"  # RQ's queue; a single one, since with several RQ skips its intermediate queue
FUNCTION = "worker.sampling.batch_worker.generate"  # named, not imported: the app never imports the worker

JOBS = "noisemill:jobs"  # zset: job id by creation time, of all jobs
ACTIVE = "noisemill:active"  # zset: job id by creation time, of jobs that have not ended
WAITING = "noisemill:waiting"  # zset: job id by queue order, of jobs that are queued
MODELS = "noisemill:models"  # hash: model name -> ModelCard
FIGURES = "noisemill:figures"  # hash: sha256 -> file, of every figure that a card names
PACES = "noisemill:paces"  # hash: model name -> Pace, as last measured
TOTALS = "noisemill:totals"  # hash: counters for /metrics
BYTES = "noisemill:bytes"  # string: Redis memory of all jobs, in bytes; a record's field `bytes` is that of one job
NEWS = "noisemill:news"  # channel: the id of a job that has a new event
WORKERS = "noisemill:workers"  # set: names of workers; some may have died


def job(job_id: str) -> str:
    """Hash: the job's record."""
    return f"noisemill:job:{job_id}"


def events(job_id: str) -> str:
    """Stream: the job's events."""
    return f"noisemill:events:{job_id}"


def images(job_id: str) -> str:
    """Hash: position in the job -> PNG."""
    return f"noisemill:images:{job_id}"


def state(job_id: str) -> str:
    """List: a running job's saved state: the build, then the chunks of unfinished images."""
    return f"noisemill:state:{job_id}"


def idempotency(key: str) -> str:
    """String: the response to the first request with this Idempotency-Key; hashed, since clients choose its length."""
    return f"noisemill:idempotency:{hashlib.sha256(key.encode()).hexdigest()}"


def worker(name: str) -> str:
    """String, expires: present while the worker is alive; the names of its models, one per line."""
    return f"noisemill:worker:{name}"
