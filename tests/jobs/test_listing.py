"""Listing records: pages, active jobs, and the queue."""

from __future__ import annotations

import dataclasses

import pytest
from redis import Redis

from jobs import keys
from jobs.records import Record, Records
from jobs.schema import Status
from jobs.work import Ahead
from tests.jobs.factories import queued, running
from tests.jobs.record_helpers import begun


def waits_before(records: Records, record: Record) -> Ahead:
    _, [ahead] = records.backlog([record.order])
    return ahead


@pytest.mark.parametrize("limit", [1, 3, 7, 24, 100])
def test_pages_list_every_job_once_newest_first(redis: Redis, records: Records, limit: int) -> None:
    jobs = [queued(redis, created_at=1_763_647_200.25 + i // 8) for i in range(24)]  # 3 × 8 equal times
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


def test_page_is_stable_when_jobs_are_added(redis: Redis, records: Records) -> None:
    old = [queued(redis, created_at=float(i)) for i in range(4)]
    _, cursor = records.page(None, 2)
    queued(redis, created_at=100.0)
    page, cursor = records.page(cursor, 2)
    assert [record.id for record in page] == [old[1].id, old[0].id]
    assert cursor is None


def test_page_after_a_deleted_cursor_job(redis: Redis, records: Records) -> None:
    jobs = [queued(redis, created_at=float(i)) for i in range(4)]
    _, cursor = records.page(None, 2)
    redis.zrem(keys.JOBS, jobs[2].id)
    redis.delete(keys.job(jobs[2].id))
    page, _ = records.page(cursor, 2)
    assert [record.id for record in page] == [jobs[1].id, jobs[0].id]


def test_page_without_jobs_is_empty(records: Records) -> None:
    assert records.page(None, 10) == ([], None)


def test_get_many_keeps_order_and_missing_jobs(redis: Redis, records: Records) -> None:
    a, b = queued(redis), queued(redis)
    assert records.get_many([b.id, "f" * 32, a.id]) == [b, None, a]
    assert records.get_many([]) == []


def test_active_work_lists_jobs_that_have_not_ended_oldest_first(redis: Redis, records: Records) -> None:
    late, early, ended = (queued(redis, created_at=at) for at in (3.0, 1.0, 2.0))
    records.cancel(ended.id)
    assert records.active_ids() == [early.id, late.id]
    attempt = begun(records, late.id)
    assert records.progress(attempt, 4)
    assert records.active_work() == [
        (Status.QUEUED, early.work),
        (Status.RUNNING, dataclasses.replace(late.work, steps_done=4)),
    ]


def test_active_work_does_not_read_specs(redis: Redis, records: Records) -> None:
    """A spec with a start image takes up to 256 kB."""
    record = queued(redis)
    redis.hset(keys.job(record.id), "spec", "not JSON")
    assert records.active_work() == [(Status.QUEUED, record.work)]


def test_backlog_counts_waiting_jobs_and_their_work_in_queue_order(redis: Redis, records: Records) -> None:
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
