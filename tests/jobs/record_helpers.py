"""Writes and ends of a job's record, by name, and shorthands to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis

from jobs import keys
from jobs.records import Attempt, Record, Records
from jobs.schema import Done
from tests.jobs.factories import frame

DONE = Done(images=4, seconds=1.0)

WRITES: dict[str, Callable[[Records, Attempt], bool]] = {
    "frame": lambda records, attempt: records.frame(attempt, frame(attempt, step=9)),
    "progress": lambda records, attempt: records.progress(attempt, 39),
    "store": lambda records, attempt: records.store(attempt, {3: b"late"}),
    "save": lambda records, attempt: records.save(attempt, "build", [b"late"]),
    "put_back": lambda records, attempt: records.put_back(attempt),
    "finish": lambda records, attempt: records.finish(attempt, DONE),
    "fail": lambda records, attempt: records.fail(attempt.job_id, "late", attempt),
}
ENDS: dict[str, Callable[[Records, Attempt], bool]] = {
    "finish": WRITES["finish"],
    "fail": WRITES["fail"],
    "fail from outside": lambda records, attempt: records.fail(attempt.job_id, "given up"),
    "cancel": lambda records, attempt: records.cancel(attempt.job_id),
}


def everything(redis: Redis) -> dict[bytes, Any]:
    """All of Redis; a hash by its fields, whose order may change."""
    return {key: redis.hgetall(key) if redis.type(key) == b"hash" else redis.dump(key) for key in redis.scan_iter()}


def kinds(redis: Redis, job_id: str) -> list[str]:
    return [fields[b"type"].decode() for _, fields in redis.xrange(keys.events(job_id))]


def existing(records: Records, job_id: str) -> Record:
    record = records.get(job_id)
    assert record is not None
    return record


def begun(records: Records, job_id: str, build: str | None = None) -> Attempt:
    attempt = records.begin(job_id, build)
    assert attempt is not None
    return attempt
