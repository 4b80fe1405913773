"""A worker process: models from disk, jobs from Redis, until it is asked to stop."""

from __future__ import annotations

import signal
import socket
import sys
import uuid
from types import FrameType
from typing import Any

import structlog
from redis import Redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from jobs import keys, models
from jobs.records import Records
from model.hardware import default_device
from worker.catalog import Catalog
from worker.janitor import Janitor
from worker.periodic import Periodic
from worker.sampling.batch_worker import BatchWorker
from worker.settings import WorkerSettings

log = structlog.get_logger()

BEAT_SECONDS = 1.0
ALIVE_SECONDS = 5.0  # that a worker counts as alive after a heartbeat
UPKEEP_SECONDS = 2.0  # between two scans of the models, and two runs of the janitor
OUTAGE_SECONDS = 120  # that Redis may be away before the worker exits, to be started again
RETRY_SECONDS = 0.25
ANSWER_SECONDS = 15.0  # in which Redis must answer a command; RQ needs 12 s
CONNECT_SECONDS = 5.0


def run(settings: WorkerSettings) -> None:
    """Runs jobs until SIGTERM or SIGINT, upon which those in progress are put back. Exits with 1 upon any error."""
    signal.signal(signal.SIGTERM, _exit)  # until RQ installs its own handlers
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
        models.publish_paces(redis, worker.batch.arbiter.paces())

    def stay_alive() -> None:
        models.keep_alive(redis, name, ALIVE_SECONDS)

    publish()
    # Two threads: a scan or the janitor may take longer than a worker without heartbeats counts as alive.
    threads = [
        Periodic("heartbeat", BEAT_SECONDS, [worker.beat, stay_alive]),
        Periodic("upkeep", UPKEEP_SECONDS, [publish, janitor.clean]),
    ]
    try:
        worker.prepare_all()
        worker.work(logging_level="WARNING")
    finally:
        for thread in threads:
            thread.close()
        redis.delete(keys.worker(name))
    if not worker.stopped_on_request:
        sys.exit(1)  # RQ has logged the error


def connect(url: str) -> Redis:
    """A client whose commands are retried through an outage, also if a peer vanishes without closing its connection."""
    retry = Retry(ConstantBackoff(RETRY_SECONDS), int(OUTAGE_SECONDS / RETRY_SECONDS))
    options: dict[str, Any] = {"socket_timeout": ANSWER_SECONDS, "health_check_interval": 30}
    if not url.startswith("unix:"):
        options |= {"socket_connect_timeout": CONNECT_SECONDS, "socket_keepalive": True}
        if sys.platform == "linux":  # a dead peer is noticed after 10 + 3 · 5 s
            options["socket_keepalive_options"] = {
                socket.TCP_KEEPIDLE: 10,
                socket.TCP_KEEPINTVL: 5,
                socket.TCP_KEEPCNT: 3,
            }
    return Redis.from_url(url, retry=retry, **options)


def _exit(_: int, __: FrameType | None) -> None:
    raise SystemExit
