"""How jobs end: once, for one attempt, and with no write after it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from jobs import keys
from jobs.records import Attempt, Records
from jobs.schema import Status
from tests.jobs.factories import frame, queued, running
from tests.jobs.record_helpers import DONE, ENDS, WRITES, begun, everything, existing, kinds


def test_finish_updates_record_active_set_and_totals(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    records.store(attempt, {0: b"a", 1: b"b"})
    assert records.finish(attempt, DONE)
    record = existing(records, attempt.job_id)
    assert (record.status, record.error) == (Status.FINISHED, None)
    assert record.ended_at is not None
    assert record.started_at is not None
    assert record.created_at <= record.started_at <= record.ended_at
    assert records.active_ids() == []
    assert redis.hgetall(keys.TOTALS) == {b"jobs:finished": b"1", b"images": b"2"}


def test_fail_records_the_reason(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    assert records.fail(attempt.job_id, "no memory", attempt)
    assert (existing(records, attempt.job_id).status, existing(records, attempt.job_id).error) == (
        Status.FAILED,
        "no memory",
    )
    *_, (_, last) = redis.xrange(keys.events(attempt.job_id))
    assert last == {b"type": b"failed", b"data": b'{"reason":"no memory"}'}


def test_cancel_of_queued_and_running_jobs(redis: Redis, records: Records) -> None:
    waiting, held = queued(redis).id, running(redis)
    for job in (waiting, held.job_id):
        assert records.cancel(job)
        assert existing(records, job).status is Status.CANCELED
        assert records.begin(job) is None
    assert not records.finish(held, DONE)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("write", [*WRITES, "cancel", "begin"])
def test_no_write_follows_the_end(redis: Redis, records: Records, end: str, write: str) -> None:
    attempt = running(redis)
    assert ENDS[end](records, attempt)
    before = everything(redis)
    assert not {**WRITES, **ENDS, "begin": lambda r, a: r.begin(a.job_id)}[write](records, attempt)
    assert everything(redis) == before


@pytest.mark.parametrize("write", WRITES)
def test_superseded_attempt_writes_nothing(redis: Redis, records: Records, write: str) -> None:
    old = running(redis)
    begun(records, old.job_id)
    before = everything(redis)
    assert not WRITES[write](records, old)
    assert everything(redis) == before


@pytest.mark.parametrize("write", WRITES)
def test_attempt_that_was_put_back_writes_nothing(redis: Redis, records: Records, write: str) -> None:
    attempt = running(redis)
    assert records.put_back(attempt)
    before = everything(redis)
    assert not WRITES[write](records, attempt)
    assert everything(redis) == before


def test_lost_returns_attempts_that_no_longer_hold_their_job(redis: Redis, records: Records) -> None:
    holding, canceled, superseded, returned, finished = (running(redis) for _ in range(5))
    records.cancel(canceled.job_id)
    successor = begun(records, superseded.job_id)
    records.put_back(returned)
    records.finish(finished, DONE)
    gone = Attempt("f" * 32, 1, 0)
    asked = [holding, canceled, superseded, successor, returned, finished, gone]
    assert records.lost(asked) == [canceled, superseded, returned, finished, gone]
    assert records.lost([]) == []


def test_finish_and_cancel_at_once_end_a_job_exactly_once(redis: Redis, redis_url: str) -> None:
    """They use separate clients, so that only Redis orders the two writes."""
    attempts = [running(redis) for _ in range(60)]
    together = threading.Barrier(2)

    def race(end: Callable[[Records, Attempt], bool]) -> list[bool]:
        with Redis.from_url(redis_url) as own:
            records = Records(own)
            won = []
            for attempt in attempts:
                together.wait(30)
                won.append(end(records, attempt))
            return won

    with ThreadPoolExecutor(2) as pool:
        finished, canceled = pool.map(race, [ENDS["finish"], ENDS["cancel"]])
    for attempt, did_finish, did_cancel in zip(attempts, finished, canceled, strict=True):
        assert did_finish != did_cancel
        assert kinds(redis, attempt.job_id)[2:] == ["done" if did_finish else "canceled"]
    totals = {name.decode(): int(value) for name, value in redis.hgetall(keys.TOTALS).items()}
    assert totals.get("jobs:finished", 0) == sum(finished)
    assert totals.get("jobs:canceled", 0) == sum(canceled)


def test_concurrent_begins_leave_one_current_attempt(redis: Redis, redis_url: str) -> None:
    job = queued(redis).id

    def take(_: int) -> Attempt | None:
        with Redis.from_url(redis_url) as own:
            return Records(own).begin(job)

    with ThreadPoolExecutor(8) as pool:
        attempts = [attempt for attempt in pool.map(take, range(16)) if attempt is not None]
    assert sorted(attempt.number for attempt in attempts) == list(range(1, 17))
    held = [attempt for attempt in attempts if Records(redis).progress(attempt, 1)]
    assert [attempt.number for attempt in held] == [16]


def test_every_event_is_published(redis: Redis, records: Records) -> None:
    with redis.pubsub() as pubsub:
        pubsub.subscribe(keys.NEWS)
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        attempt = running(redis)
        records.frame(attempt, frame(attempt))
        records.finish(attempt, DONE)
        messages = [pubsub.get_message(timeout=5) for _ in kinds(redis, attempt.job_id)[1:]]
        assert [message["data"].decode() for message in messages] == [attempt.job_id] * 3
        assert pubsub.get_message(timeout=0.05) is None
