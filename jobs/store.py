"""Results: finished images, and how long everything of a job is kept."""

from __future__ import annotations

import time
from typing import Protocol

from redis import Redis

from jobs import keys


class Store(Protocol):
    """Where finished images lie, by position in the job. Workers put them through their record's fence."""

    def get(self, job_id: str, position: int) -> bytes | None: ...

    def get_all(self, job_id: str) -> dict[int, bytes]: ...

    def delete(self, job_ids: list[str]) -> None: ...


class RedisStore:
    """Images in Redis, beside the job's record and events, which go when they go."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, job_id: str, position: int) -> bytes | None:
        png: bytes | None = self._redis.hget(keys.images(job_id), str(position))
        return png

    def get_all(self, job_id: str) -> dict[int, bytes]:
        return {int(position): png for position, png in sorted(self._redis.hgetall(keys.images(job_id)).items())}

    def positions(self, job_id: str) -> list[int]:
        """Which images there are, in order."""
        return sorted(int(position) for position in self._redis.hkeys(keys.images(job_id)))

    def delete(self, job_ids: list[str]) -> None:
        """Forgets jobs whole: record, events and images."""
        if not job_ids:
            return
        pipeline = self._redis.pipeline()
        for job_id in job_ids:
            pipeline.unlink(keys.job(job_id), keys.events(job_id), keys.images(job_id))
        pipeline.zrem(keys.JOBS, *job_ids)
        pipeline.execute()

    def sweep(self, *, keep_seconds: float, max_bytes: int, batch: int = 50) -> int:
        """Forgets ended jobs, oldest first: those past their time, then any while Redis holds over `max_bytes`.

        Returns how many. Jobs that have not ended stay, whatever their age.
        """
        swept = self._forget_ended(time.time() - keep_seconds, batch)
        while self._redis.info("memory")["used_memory"] > max_bytes:
            forgotten = self._forget_ended(time.time(), batch)
            if not forgotten:
                break
            swept += forgotten
        return swept

    def _forget_ended(self, created_before: float, batch: int) -> int:
        oldest = self._redis.zrangebyscore(keys.JOBS, "-inf", created_before, start=0, num=batch)
        if not oldest:
            return 0
        active = self._redis.zmscore(keys.ACTIVE, oldest)
        ended = [job_id.decode() for job_id, score in zip(oldest, active, strict=True) if score is None]
        self.delete(ended)
        return len(ended)
