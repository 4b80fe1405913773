"""Results: finished images, and how long everything of a job is kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

from redis import Redis

from jobs import keys


class Store(Protocol):
    """Where finished images lie, by position in the job. Workers put them through their record's fence."""

    def get(self, job_id: str, position: int) -> bytes | None: ...

    def get_all(self, job_id: str) -> dict[int, bytes]: ...

    def positions(self, job_id: str) -> list[int]: ...

    def delete(self, job_ids: list[str]) -> None: ...


class RedisStore:
    """Images in Redis, beside the job's record and events, which go when they go."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def get(self, job_id: str, position: int) -> bytes | None:
        png: bytes | None = self._redis.hget(keys.images(job_id), str(position))
        return png

    def get_all(self, job_id: str) -> dict[int, bytes]:
        images = {int(position): png for position, png in self._redis.hgetall(keys.images(job_id)).items()}
        return dict(sorted(images.items()))

    def positions(self, job_id: str) -> list[int]:
        """Which images there are, in order."""
        return sorted(int(position) for position in self._redis.hkeys(keys.images(job_id)))

    def delete(self, job_ids: list[str]) -> None:
        """Forgets jobs whole: record, events, images and state."""
        if not job_ids:
            return
        pipeline = self._redis.pipeline()
        for job_id in job_ids:
            # Not `unlink`: what is freed later would still be counted by `sweep`.
            pipeline.delete(keys.job(job_id), keys.events(job_id), keys.images(job_id), keys.state(job_id))
        pipeline.zrem(keys.JOBS, *job_ids)
        pipeline.execute()

    def sweep(self, *, keep_seconds: float, max_bytes: int) -> list[str]:
        """Forgets ended jobs, oldest first: those past their time, then any while Redis holds over `max_bytes`.

        Returns their ids. Jobs that have not ended stay, whatever their age.
        """
        expired, forgotten = time.time() - keep_seconds, []
        for job_id, created_at in self._ended():
            if created_at > expired and self._redis.info("memory")["used_memory"] <= max_bytes:
                break
            self.delete([job_id])
            forgotten.append(job_id)
        return forgotten

    def _ended(self, batch: int = 100) -> Iterator[tuple[str, float]]:
        """Ended jobs and their times of creation, oldest first; each is forgotten before the next is asked for."""
        start = 0
        while found := self._redis.zrange(keys.JOBS, start, start + batch - 1, withscores=True):
            active = self._redis.zmscore(keys.ACTIVE, [job_id for job_id, _ in found])
            ended = [job for job, score in zip(found, active, strict=True) if score is None]
            yield from ((job_id.decode(), created_at) for job_id, created_at in ended)
            start += len(found) - len(ended)
