"""Reconciles records with RQ, and deletes old jobs."""

from __future__ import annotations

import structlog
from redis import Redis

from jobs import queue
from jobs.queue import RQState
from jobs.records import Records
from jobs.store import RedisStore

log = structlog.get_logger()


class Janitor:
    def __init__(self, redis: Redis, records: Records, *, keep_seconds: float, max_bytes: int) -> None:
        self._redis, self._records, self._store = redis, records, RedisStore(redis)
        self._keep_seconds, self._max_bytes = keep_seconds, max_bytes
        self._recounted = False

    def clean(self) -> None:
        if not self._recounted:
            self._store.recount()
            self._recounted = True
        self._reconcile()
        self._sweep()

    def _reconcile(self) -> None:
        """Fails jobs that RQ will not run any more, and queues those again that RQ has lost track of."""
        active = self._records.active_ids()
        for job_id, state in zip(active, queue.states(self._redis, active), strict=True):
            if state is RQState.REMOVED:
                self._records.fail(job_id, "its job was removed from the queue: ask again")
            elif state is RQState.GIVEN_UP:
                self._give_up(job_id)
        for job_id in queue.requeue_lost(self._redis, active):
            log.warning("job queued again: RQ had lost track of it", job=job_id)

    def _give_up(self, job_id: str) -> None:
        record = self._records.get(job_id)
        attempts = 0 if record is None else record.attempt
        self._records.fail(job_id, f"given up after {attempts} attempts: its worker died each time")

    def _sweep(self) -> None:
        deleted = self._store.sweep(keep_seconds=self._keep_seconds, max_bytes=self._max_bytes)
        queue.delete(self._redis, [job.job_id for job in deleted])
        for job in deleted:
            log.info("job deleted", job=job.job_id, reason=job.reason)
