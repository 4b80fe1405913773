"""A worker process: models from disk, jobs from Redis, until it is asked to stop."""

from __future__ import annotations

import socket
import uuid

import structlog
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from jobs import keys, models
from jobs.records import Records
from model.hardware import default_device
from worker.catalog import Catalog
from worker.heartbeat import Heartbeat
from worker.janitor import Janitor
from worker.sampling.batch_worker import HEARTBEAT_SECONDS, BatchWorker
from worker.settings import WorkerSettings

log = structlog.get_logger()

ALIVE_SECONDS = 10.0  # how long a worker counts as alive after a heartbeat
OUTAGE_SECONDS = 120  # how long Redis may be away before the worker gives up, to be started again
RETRY_SECONDS = 0.25


def run(settings: WorkerSettings) -> None:
    """Serves the queue until SIGTERM or SIGINT; jobs in progress are put back."""
    device = default_device(settings.device)
    redis = connect(settings.redis_url)
    name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"  # a container's process ids repeat
    catalog = Catalog(
        settings.models,
        device=device,
        slots=settings.slots,
        max_count=settings.max_count,
        deterministic=settings.deterministic,
    )
    worker = BatchWorker(redis, catalog, name=name)
    janitor = Janitor(redis, Records(redis), keep_seconds=settings.keep_days * 86400, max_bytes=settings.max_bytes)

    def publish() -> None:
        catalog.scan()
        models.publish(redis, name, catalog.cards, catalog.figures, alive_seconds=ALIVE_SECONDS)

    publish()
    heartbeat = Heartbeat(HEARTBEAT_SECONDS, [worker.beat, publish, janitor.clean])
    try:
        worker.make_ready()
        worker.work(logging_level="WARNING")
    finally:
        heartbeat.close()
        redis.delete(keys.worker(name))


def connect(url: str) -> Redis:
    """A client whose every command waits out an outage. Blocking reads bring their own timeouts."""
    retry = Retry(ConstantBackoff(RETRY_SECONDS), int(OUTAGE_SECONDS / RETRY_SECONDS))
    return Redis.from_url(url, retry=retry, socket_timeout=None, health_check_interval=30)
