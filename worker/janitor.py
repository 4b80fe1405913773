"""Keeps the records true where RQ gave a job up, and the memory bounded."""

from __future__ import annotations

from redis import Redis
from rq.job import Job, JobStatus

from jobs.records import Records
from jobs.store import RedisStore

GIVEN_UP = {JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED}


class Janitor:
    def __init__(self, redis: Redis, records: Records, *, keep_seconds: float, max_bytes: int) -> None:
        self._redis, self._records, self._store = redis, records, RedisStore(redis)
        self._keep_seconds, self._max_bytes = keep_seconds, max_bytes

    def clean(self) -> None:
        """Ends records whose job RQ no longer runs, so that nobody waits for them, and forgets what is too old."""
        active = self._records.active()
        for record, job in zip(active, Job.fetch_many([record.id for record in active], self._redis), strict=True):
            if job is None:
                self._records.fail(record.id, "its job was removed from the queue: ask again")
            elif job.get_status(refresh=False) in GIVEN_UP:
                self._records.fail(record.id, f"given up after {record.attempt} attempts: its worker died each time")
        self._forget(self._store.sweep(keep_seconds=self._keep_seconds, max_bytes=self._max_bytes))

    def _forget(self, job_ids: list[str]) -> None:
        """RQ never forgets a canceled job by itself."""
        for job in Job.fetch_many(job_ids, self._redis):
            if job is not None:
                self._redis.delete(job.execution_registry.key)  # RQ stumbles over those of workers that died
                job.delete()
