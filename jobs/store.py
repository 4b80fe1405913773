"""Finished images, their retention, and the Redis memory of jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from redis import Redis

from jobs import keys, scripts


@dataclass(frozen=True, slots=True)
class Deleted:
    """A job that `sweep` has deleted."""

    job_id: str
    reason: Literal["expired", "over max_bytes"]


class RedisStore:
    """Finished images, in Redis beside the job's record and events. Workers write them through `Records.store`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._delete = redis.register_script(scripts.DELETE)
        self._recount = redis.register_script(scripts.RECOUNT)

    def get(self, job_id: str, position: int) -> bytes | None:
        png: bytes | None = self._redis.hget(keys.images(job_id), str(position))
        return png

    def get_all(self, job_id: str) -> dict[int, bytes]:
        images = {int(position): png for position, png in self._redis.hgetall(keys.images(job_id)).items()}
        return dict(sorted(images.items()))

    def positions(self, job_id: str) -> list[int]:
        """Positions of the finished images, ascending."""
        return sorted(int(position) for position in self._redis.hkeys(keys.images(job_id)))

    def delete(self, job_ids: list[str]) -> None:
        """Deletes jobs: record, events, images and saved state."""
        if job_ids:
            self._delete(keys=[keys.JOBS, keys.BYTES], args=job_ids)

    def bytes(self) -> int:
        """Redis memory of all jobs."""
        return int(self._redis.get(keys.BYTES) or 0)

    def recount(self) -> None:
        """Recomputes `bytes` from the jobs, since workers of earlier versions do not maintain it."""
        self._recount(keys=[keys.JOBS, keys.BYTES])

    def sweep(self, *, keep_seconds: float, max_bytes: int) -> list[Deleted]:
        """Deletes ended jobs, oldest first: expired ones, then others while all jobs take more than `max_bytes`.

        Jobs that have not ended are never deleted.
        """
        expired, deleted = time.time() - keep_seconds, list[Deleted]()
        for job_id, created_at in self._ended():
            if created_at > expired and self.bytes() <= max_bytes:
                break
            self.delete([job_id])
            deleted.append(Deleted(job_id, "expired" if created_at <= expired else "over max_bytes"))
        return deleted

    def _ended(self, batch: int = 100) -> Iterator[tuple[str, float]]:
        """Ended jobs and their creation times, oldest first. The caller deletes each before asking for the next."""
        start = 0
        while found := self._redis.zrange(keys.JOBS, start, start + batch - 1, withscores=True):
            active = self._redis.zmscore(keys.ACTIVE, [job_id for job_id, _ in found])
            ended = [job for job, score in zip(found, active, strict=True) if score is None]
            yield from ((job_id.decode(), created_at) for job_id, created_at in ended)
            start += len(found) - len(ended)
