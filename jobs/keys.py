"""Every Redis name, once. RQ's own names stay RQ's."""

from __future__ import annotations

import hashlib

QUEUE = "noisemill"  # RQ's queue; one, since with several RQ can lose a job in a crash
FUNCTION = "worker.sampling.batch_worker.generate"  # named, not imported: the app never imports the worker

JOBS = "noisemill:jobs"  # zset: job id by time of creation, all of them
ACTIVE = "noisemill:active"  # zset: likewise, those not yet ended
WAITING = "noisemill:waiting"  # zset: those that wait, in the order in which they are to begin
MODELS = "noisemill:models"  # hash: model name -> ModelCard
FIGURES = "noisemill:figures"  # hash: sha256 -> the picture's file, of every figure that a card names
PACES = "noisemill:paces"  # hash: model name -> Pace, as last measured
TOTALS = "noisemill:totals"  # hash: counters since the beginning, for /metrics
NEWS = "noisemill:news"  # channel: the id of a job whose stream has grown
WORKERS = "noisemill:workers"  # set: names of workers, some of which may live no more


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
    """List: what a running job has begun, as its worker last kept it; its first item names the build."""
    return f"noisemill:state:{job_id}"


def idempotency(key: str) -> str:
    """String: the first answer to a request with this Idempotency-Key. Hashed, since clients choose its length."""
    return f"noisemill:idempotency:{hashlib.sha256(key.encode()).hexdigest()}"


def worker(name: str) -> str:
    """String that expires: a live worker that has published its cards."""
    return f"noisemill:worker:{name}"
