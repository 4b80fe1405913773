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

HEARTBEAT_SECONDS = 1.0  # seconds between two heartbeats
ALIVE_SECONDS = 5.0  # time after a heartbeat for which the worker counts as alive
UPKEEP_SECONDS = 2.0  # seconds between two scans of the models folder, and between two runs of the janitor
MAX_OUTAGE_SECONDS = 120  # maximum outage of Redis; after it the worker exits, for the supervisor to restart
RETRY_SECONDS = 0.25  # seconds between two attempts to reach Redis
REPLY_TIMEOUT_SECONDS = 15.0  # maximum time for a reply from Redis; RQ's blocking commands take up to 12 s
CONNECT_TIMEOUT_SECONDS = 5.0


def run(settings: WorkerSettings) -> None:
    """Runs jobs until SIGTERM or SIGINT, then requeues those in progress. Exits with status 1 after any error."""
    signal.signal(signal.SIGTERM, _exit)  # until RQ installs its own handlers
    device = default_device(settings.device)
    redis = connect(settings.redis_url)
    name = f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"  # random: every container has the same process ids
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
    # Two threads: a scan or a run of the janitor may take longer than ALIVE_SECONDS.
    threads = [
        Periodic("heartbeat", HEARTBEAT_SECONDS, [worker.beat, stay_alive]),
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
    """A client that retries its commands through an outage, including a peer that vanished without closing."""
    retry = Retry(ConstantBackoff(RETRY_SECONDS), int(MAX_OUTAGE_SECONDS / RETRY_SECONDS))
    options: dict[str, Any] = {"socket_timeout": REPLY_TIMEOUT_SECONDS, "health_check_interval": 30}
    if not url.startswith("unix:"):
        options |= {"socket_connect_timeout": CONNECT_TIMEOUT_SECONDS, "socket_keepalive": True}
        if sys.platform == "linux":  # detects a dead peer after 10 + 3 · 5 s
            options["socket_keepalive_options"] = {
                socket.TCP_KEEPIDLE: 10,
                socket.TCP_KEEPINTVL: 5,
                socket.TCP_KEEPCNT: 3,
            }
    return Redis.from_url(url, retry=retry, **options)


def _exit(_: int, __: FrameType | None) -> None:
    raise SystemExit
