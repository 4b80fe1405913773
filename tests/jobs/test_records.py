"""The record is the truth: whole, fenced, and ended once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import WatchError

from jobs import keys
from jobs.records import Attempt, Record, Records
from jobs.schema import Done, EventType, Frame, Queued, Status
from jobs.work import Ahead
from tests.jobs.made import frame, queued, running, spec

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


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis)


def everything(redis: Redis) -> dict[bytes, Any]:
    """All that Redis holds; a hash by its fields, whose order it changes as it likes."""
    return {key: redis.hgetall(key) if redis.type(key) == b"hash" else redis.dump(key) for key in redis.scan_iter()}


def waits_before(records: Records, record: Record) -> Ahead:
    _, [ahead] = records.backlog([record.order])
    return ahead


def kinds(redis: Redis, job_id: str) -> list[str]:
    return [fields[b"type"].decode() for _, fields in redis.xrange(keys.events(job_id))]


def of(records: Records, job_id: str) -> Record:
    record = records.get(job_id)
    assert record is not None
    return record


def begun(records: Records, job_id: str) -> Attempt:
    attempt = records.begin(job_id)
    assert attempt is not None
    return attempt


# Made


def test_a_new_record_reads_as_it_was_written(redis: Redis, records: Records) -> None:
    record = queued(redis)
    assert records.get(record.id) == record
    assert records.active() == [record]
    assert kinds(redis, record.id) == ["queued"]


def test_nothing_of_a_job_is_there_before_its_transaction_and_nothing_if_that_fails(
    redis: Redis, records: Records
) -> None:
    record = Record.new("a" * 32, spec())
    with redis.pipeline() as pipeline:
        pipeline.watch("other")
        pipeline.multi()
        records.create(record, Queued(position=0, eta_seconds=None), pipeline)
        assert everything(redis) == {}
        redis.set("other", "changed")
        with pytest.raises(WatchError):
            pipeline.execute()
    assert list(everything(redis)) == [b"other"]


def test_a_job_that_never_was_is_none(records: Records) -> None:
    assert records.get("f" * 32) is None
    assert records.begin("f" * 32) is None
    assert not records.cancel("f" * 32)
    assert not records.fail("f" * 32, "why not")


def test_a_job_that_never_was_is_not_made_by_touching_it(redis: Redis, records: Records) -> None:
    for write in [*WRITES.values(), *ENDS.values()]:
        assert not write(records, Attempt("f" * 32, 1, 0))
    assert everything(redis) == {}


# Moved along


def test_attempts_are_numbered_and_a_job_taken_while_running_counts_as_a_crash(redis: Redis, records: Records) -> None:
    job = queued(redis).id
    first = begun(records, job)
    second = begun(records, job)
    assert (first.number, first.crashes) == (1, 0)
    assert (second.number, second.crashes) == (2, 1)
    record = of(records, job)
    assert (record.status, record.attempt, record.crashes) == (Status.RUNNING, 2, 1)
    assert kinds(redis, job) == ["queued", "started", "started"]


def test_a_job_that_was_put_back_waits_again_and_no_crash_is_counted(redis: Redis, records: Records) -> None:
    first = running(redis)
    assert records.put_back(first)
    assert of(records, first.job_id).status is Status.QUEUED
    again = begun(records, first.job_id)
    assert (again.number, again.crashes) == (2, 0)


def test_the_first_start_is_the_one_that_is_told(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    started_at = of(records, attempt.job_id).started_at
    begun(records, attempt.job_id)
    assert of(records, attempt.job_id).started_at == started_at is not None


def test_progress_and_images_are_seen(redis: Redis, records: Records) -> None:
    attempt = running(redis, count=4, steps=10, labels=[4, 4, 4, 4])
    assert records.progress(attempt, 25)
    assert records.store(attempt, {0: b"a", 2: b"c"})
    assert records.store(attempt, {2: b"c again"})
    record = of(records, attempt.job_id)
    assert (record.steps_done, record.images_done) == (25, 2)
    assert record.work.row_steps_left == pytest.approx(15)


def test_what_was_begun_is_kept_for_the_same_build_until_the_end(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    assert records.saved(attempt.job_id, "this") == []
    records.save(attempt, "this", [b"a", b"b"])
    records.save(attempt, "this", [b"c"])
    assert records.saved(attempt.job_id, "this") == [b"c"]
    assert records.saved(attempt.job_id, "another") == []
    records.finish(attempt, DONE)
    assert not redis.exists(keys.state(attempt.job_id))


def test_frames_only_move_forward_each_wave_by_itself(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    for step, first in [(2, 0), (4, 0), (2, 8), (2, 0), (4, 0), (3, 8), (6, 0)]:
        assert records.frame(attempt, frame(attempt, step, first)), "one that is not shown is not a lost attempt"
    shown = [
        Frame.model_validate_json(fields[b"data"])
        for _, fields in redis.xrange(keys.events(attempt.job_id))
        if fields[b"type"] == b"frame"
    ]
    assert [(each.step, each.first) for each in shown] == [(2, 0), (4, 0), (2, 8), (3, 8), (6, 0)]


def test_a_second_attempt_shows_what_the_first_did_not_come_to(redis: Redis, records: Records) -> None:
    first = running(redis)
    assert records.frame(first, frame(first, step=5))
    second = begun(records, first.job_id)
    for step in range(4, 8):
        assert records.frame(second, frame(second, step))
    assert kinds(redis, first.job_id) == ["queued", "started", "frame", "started", "frame", "frame"]


def test_no_image_steps_back_where_a_second_attempt_cuts_its_waves_otherwise(redis: Redis, records: Records) -> None:
    pictures = ["iVBORw0KGgo="] * 3
    first = running(redis)
    assert records.frame(first, frame(first, step=5, images=pictures))
    second = begun(records, first.job_id)
    for step in (4, 6):
        assert records.frame(second, frame(second, step, images=pictures[:2]))
        assert records.frame(second, frame(second, step, first=2, images=pictures[:1]))
    assert kinds(redis, first.job_id) == ["queued", "started", "frame", "started", "frame", "frame"]


# Ended


def test_a_finished_job_says_so_everywhere(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    records.store(attempt, {0: b"a", 1: b"b"})
    assert records.finish(attempt, DONE)
    record = of(records, attempt.job_id)
    assert (record.status, record.error) == (Status.FINISHED, None)
    assert record.ended_at is not None
    assert record.started_at is not None
    assert record.created_at <= record.started_at <= record.ended_at
    assert records.active() == []
    assert redis.hgetall(keys.TOTALS) == {b"jobs:finished": b"1", b"images": b"2"}


def test_a_failed_job_says_why(redis: Redis, records: Records) -> None:
    attempt = running(redis)
    assert records.fail(attempt.job_id, "no room", attempt)
    assert (of(records, attempt.job_id).status, of(records, attempt.job_id).error) == (Status.FAILED, "no room")
    *_, (_, last) = redis.xrange(keys.events(attempt.job_id))
    assert last == {b"type": b"failed", b"data": b'{"reason":"no room"}'}


def test_a_job_is_canceled_while_it_waits_or_runs(redis: Redis, records: Records) -> None:
    waiting, held = queued(redis).id, running(redis)
    for job in (waiting, held.job_id):
        assert records.cancel(job)
        assert of(records, job).status is Status.CANCELED
        assert records.begin(job) is None
    assert not records.finish(held, DONE), "cancel beats whoever runs the job"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("write", [*WRITES, "cancel", "begin"])
def test_nothing_follows_the_end(redis: Redis, records: Records, end: str, write: str) -> None:
    attempt = running(redis)
    assert ENDS[end](records, attempt)
    before = everything(redis)
    assert not {**WRITES, **ENDS, "begin": lambda r, a: r.begin(a.job_id)}[write](records, attempt)
    assert everything(redis) == before


@pytest.mark.parametrize("write", WRITES)
def test_whoever_was_thought_dead_changes_nothing(redis: Redis, records: Records, write: str) -> None:
    old = running(redis)
    begun(records, old.job_id)
    before = everything(redis)
    assert not WRITES[write](records, old)
    assert everything(redis) == before


@pytest.mark.parametrize("write", WRITES)
def test_whoever_has_put_a_job_back_no_longer_holds_it(redis: Redis, records: Records, write: str) -> None:
    attempt = running(redis)
    assert records.put_back(attempt)
    before = everything(redis)
    assert not WRITES[write](records, attempt)
    assert everything(redis) == before


def test_lost_names_exactly_the_attempts_that_no_longer_hold(redis: Redis, records: Records) -> None:
    holding, canceled, superseded, returned, finished = (running(redis) for _ in range(5))
    records.cancel(canceled.job_id)
    successor = begun(records, superseded.job_id)
    records.put_back(returned)
    records.finish(finished, DONE)
    gone = Attempt("f" * 32, 1, 0)
    asked = [holding, canceled, superseded, successor, returned, finished, gone]
    assert records.lost(asked) == [canceled, superseded, returned, finished, gone]
    assert records.lost([]) == []


def test_of_two_that_end_a_job_at_once_exactly_one_does(redis: Redis, redis_url: str) -> None:
    """Clients of their own, so that only Redis decides."""
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


def test_of_many_that_take_a_job_only_the_last_holds_it(redis: Redis, redis_url: str) -> None:
    job = queued(redis).id

    def take(_: int) -> Attempt | None:
        with Redis.from_url(redis_url) as own:
            return Records(own).begin(job)

    with ThreadPoolExecutor(8) as pool:
        attempts = [attempt for attempt in pool.map(take, range(16)) if attempt is not None]
    assert sorted(attempt.number for attempt in attempts) == list(range(1, 17))
    held = [attempt for attempt in attempts if Records(redis).progress(attempt, 1)]
    assert [attempt.number for attempt in held] == [16]


def test_watchers_are_told_of_every_event(redis: Redis, records: Records) -> None:
    with redis.pubsub() as pubsub:
        pubsub.subscribe(keys.NEWS)
        assert pubsub.get_message(timeout=5)["type"] == "subscribe"
        attempt = running(redis)
        records.frame(attempt, frame(attempt))
        records.finish(attempt, DONE)
        told = [pubsub.get_message(timeout=5) for _ in kinds(redis, attempt.job_id)[1:]]
        assert [message["data"].decode() for message in told] == [attempt.job_id] * 3, "none waits for `queued`"
        assert pubsub.get_message(timeout=0.05) is None


# Listed


@pytest.mark.parametrize("limit", [1, 3, 7, 24, 100])
def test_pages_hold_every_job_once_newest_first(redis: Redis, records: Records, limit: int) -> None:
    jobs = [queued(redis, created_at=1_763_647_200.25 + i // 8) for i in range(24)]  # in threes of eight at once
    expected = [job.id for job in sorted(jobs, key=lambda job: (job.created_at, job.id), reverse=True)]
    found: list[str] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        page, cursor = records.page(cursor, limit)
        found += [record.id for record in page]
        pages += 1
        assert len(page) <= limit
        assert pages <= -(-24 // limit), "no empty page at the end"
    assert found == expected


def test_a_page_is_not_moved_by_jobs_that_come_meanwhile(redis: Redis, records: Records) -> None:
    old = [queued(redis, created_at=float(i)) for i in range(4)]
    _, cursor = records.page(None, 2)
    queued(redis, created_at=100.0)
    page, cursor = records.page(cursor, 2)
    assert [record.id for record in page] == [old[1].id, old[0].id]
    assert cursor is None


def test_a_page_goes_on_where_its_cursors_job_was_forgotten(redis: Redis, records: Records) -> None:
    jobs = [queued(redis, created_at=float(i)) for i in range(4)]
    _, cursor = records.page(None, 2)
    redis.zrem(keys.JOBS, jobs[2].id)
    redis.delete(keys.job(jobs[2].id))
    page, _ = records.page(cursor, 2)
    assert [record.id for record in page] == [jobs[1].id, jobs[0].id]


def test_no_jobs_are_one_empty_page(records: Records) -> None:
    assert records.page(None, 10) == ([], None)


def test_get_many_keeps_the_order_and_the_gaps(redis: Redis, records: Records) -> None:
    a, b = queued(redis), queued(redis)
    assert records.get_many([b.id, "f" * 32, a.id]) == [b, None, a]
    assert records.get_many([]) == []


def test_the_active_are_those_not_ended_oldest_first(redis: Redis, records: Records) -> None:
    late, early, ended = (queued(redis, created_at=at) for at in (3.0, 1.0, 2.0))
    records.cancel(ended.id)
    assert records.active() == [early, late]
    assert dataclasses.replace(early) in records.active()
    assert EventType.CANCELED.value in kinds(redis, ended.id)


def test_what_waits_is_counted_with_its_work_in_its_order(redis: Redis, records: Records) -> None:
    first = queued(redis, count=2, labels=[4, 4], steps=10)
    other = queued(redis, model="other", steps=5, count=1, labels=[0])  # guided: two evaluations a step
    begun, last = running(redis), queued(redis)
    behind = queued(redis, created_at=1.0, priority="batch")
    assert records.waiting() == 4
    assert waits_before(records, last) == Ahead(2, {first.spec.model: 20, other.spec.model: 10})
    assert waits_before(records, behind).jobs == 3
    assert [work.job_id for work in records.running()] == [begun.job_id]
    assert records.put_back(begun)
    assert records.running() == []
    assert waits_before(records, last).jobs == 3, "it waits where it did before"
    assert records.cancel(first.id)
    assert waits_before(records, last) == Ahead(2, {"tiny": 80, "other": 10})
    assert records.waiting() == 4
