"""Stored images, and the retention of jobs by age and size."""

from __future__ import annotations

import time

import pytest
from redis import Redis

from jobs import keys
from jobs.records import Records
from jobs.schema import Done
from jobs.store import RedisStore
from tests.jobs.factories import frame, queued, running

HOUR = 3600.0
UNLIMITED = 1 << 40  # bytes
MB = 1 << 20


@pytest.fixture
def store(redis: Redis) -> RedisStore:
    return RedisStore(redis)


def ended(redis: Redis, created_at: float, size: int = 100) -> str:
    """A finished job with one image of `size` bytes."""
    attempt, records = running(redis, created_at=created_at, count=1), Records(redis)
    assert records.store(attempt, {0: b"x" * size})
    assert records.finish(attempt, Done(images=1, seconds=0.0))
    return attempt.job_id


def swept(store: RedisStore, *, keep_seconds: float = HOUR, max_bytes: int) -> list[str]:
    return [deleted.job_id for deleted in store.sweep(keep_seconds=keep_seconds, max_bytes=max_bytes)]


def job_ids(redis: Redis) -> list[str]:
    records, _ = Records(redis).page(None, 100)
    return [record.id for record in reversed(records)]


def test_images_are_read_by_position_and_in_order(redis: Redis, store: RedisStore) -> None:
    attempt = running(redis, count=12)
    Records(redis).store(attempt, {i: b"image %d" % i for i in reversed(range(12))})
    assert store.get(attempt.job_id, 11) == b"image 11"
    assert store.get(attempt.job_id, 12) is None
    assert store.positions(attempt.job_id) == list(range(12))
    assert list(store.get_all(attempt.job_id).items()) == [(i, b"image %d" % i) for i in range(12)]


def test_unknown_job_has_no_images(store: RedisStore) -> None:
    assert store.get("f" * 32, 0) is None
    assert store.get_all("f" * 32) == {}


def test_delete_leaves_no_key_of_the_job(redis: Redis, store: RedisStore) -> None:
    kept, gone = ended(redis, 1.0), ended(redis, 2.0)
    store.delete([gone])
    store.delete([])
    assert job_ids(redis) == [kept]
    assert not [key for key in redis.scan_iter() if gone.encode() in key]


def test_sweep_deletes_expired_jobs(redis: Redis, store: RedisStore) -> None:
    now = time.time()
    old = [ended(redis, now - 3 * HOUR), ended(redis, now - 2 * HOUR)]
    young = ended(redis, now - HOUR / 2)
    assert swept(store, max_bytes=UNLIMITED) == old
    assert job_ids(redis) == [young]
    assert store.sweep(keep_seconds=HOUR, max_bytes=UNLIMITED) == []


def test_sweep_keeps_jobs_that_have_not_ended(redis: Redis, store: RedisStore) -> None:
    waiting, held = queued(redis, created_at=1.0).id, running(redis, created_at=2.0)
    Records(redis).store(held, {0: b"x" * MB})
    assert store.sweep(keep_seconds=HOUR, max_bytes=1) == []
    assert job_ids(redis) == [waiting, held.job_id]


def test_sweep_finds_ended_jobs_behind_many_waiting_ones(redis: Redis, store: RedisStore) -> None:
    waiting = [queued(redis, created_at=float(i)).id for i in range(150)]
    gone = [ended(redis, 1000.0), ended(redis, 1001.0)]
    assert swept(store, max_bytes=UNLIMITED) == gone
    assert redis.zcard("noisemill:active") == len(waiting)


def test_over_max_bytes_the_oldest_ended_jobs_are_deleted_until_the_rest_fits(redis: Redis, store: RedisStore) -> None:
    now = time.time()
    jobs = [ended(redis, now - 100 + i, size=MB) for i in range(8)]
    limit = store.bytes() - 5 * MB // 2
    assert [(each.job_id, each.reason) for each in store.sweep(keep_seconds=HOUR, max_bytes=limit)] == [
        (job, "over max_bytes") for job in jobs[:3]
    ]
    assert job_ids(redis) == jobs[3:]
    assert store.bytes() <= limit


def test_other_data_on_a_shared_redis_does_not_count_towards_max_bytes(redis: Redis, store: RedisStore) -> None:
    job = ended(redis, time.time())
    redis.set("of another application", b"x" * (8 * MB))
    assert store.sweep(keep_seconds=HOUR, max_bytes=4 * MB) == []
    assert job_ids(redis) == [job]


def test_bytes_is_the_memory_of_records_events_images_and_state(redis: Redis, store: RedisStore) -> None:
    records, waiting, attempt = Records(redis), queued(redis), running(redis)
    assert records.frame(attempt, frame(attempt, images=["x" * 100_000]))
    assert records.store(attempt, {0: b"x" * MB, 1: b"y" * MB})
    assert records.save(attempt, "build", [b"x" * MB])
    assert store.bytes() == pytest.approx(measured(redis, waiting.id, attempt.job_id), rel=0.01)
    assert records.finish(attempt, Done(images=2, seconds=0.0))
    assert 2 * MB < store.bytes() == pytest.approx(measured(redis, waiting.id, attempt.job_id), rel=0.01)
    store.delete([waiting.id, attempt.job_id])
    assert store.bytes() == 0


def test_recount_measures_jobs_of_a_version_that_did_not(redis: Redis, store: RedisStore) -> None:
    old, new = ended(redis, 1.0, size=MB), ended(redis, 2.0)
    redis.hdel(keys.job(old), "bytes")
    redis.delete(keys.BYTES)
    store.recount()
    assert MB < store.bytes() == pytest.approx(measured(redis, old, new), rel=0.01)
    store.delete([old, new])
    assert store.bytes() == 0


def measured(redis: Redis, *jobs: str) -> int:
    """Memory of the jobs' keys, as Redis reports it."""
    names = [of(job) for job in jobs for of in (keys.job, keys.events, keys.images, keys.state)]
    return sum(redis.memory_usage(name, samples=0) or 0 for name in names)
