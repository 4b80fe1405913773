"""Nobody waits for a job that will not come, and nothing is kept for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from app.settings import AppSettings
from app.submit import submit
from jobs import keys, models
from jobs.records import Records
from jobs.schema import GenerateRequest, Status
from tests.jobs.made import CARD
from worker.janitor import Janitor

PLENTY = 1 << 40


@pytest.fixture
def records(redis: Redis) -> Records:
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    return Records(redis)


def asked(redis: Redis, records: Records) -> str:
    return submit(GenerateRequest(count=1), None, redis, records, AppSettings()).job_id


def clean(redis: Redis, records: Records, *, keep_seconds: float = 3600, max_bytes: int = PLENTY) -> None:
    Janitor(redis, records, keep_seconds=keep_seconds, max_bytes=max_bytes).clean()


def status(records: Records, job: str) -> tuple[Status, str | None]:
    record = records.get(job)
    assert record is not None
    return record.status, record.error


def test_a_job_that_rq_still_has_is_left_alone(redis: Redis, records: Records) -> None:
    waiting, held = asked(redis, records), asked(redis, records)
    records.begin(held)
    Job.fetch(held, redis).set_status(JobStatus.STARTED)
    clean(redis, records)
    assert status(records, waiting) == (Status.QUEUED, None)
    assert status(records, held) == (Status.RUNNING, None)


@pytest.mark.parametrize("given_up", [JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED])
def test_a_job_that_rq_gave_up_fails(redis: Redis, records: Records, given_up: JobStatus) -> None:
    job, other = asked(redis, records), asked(redis, records)
    records.begin(job)
    Job.fetch(job, redis).set_status(given_up)
    clean(redis, records)
    is_now, why = status(records, job)
    assert is_now is Status.FAILED
    assert "after 1 attempts" in (why or "")
    assert status(records, other) == (Status.QUEUED, None)


def test_a_job_that_vanished_from_rq_fails(redis: Redis, records: Records) -> None:
    job, other = asked(redis, records), asked(redis, records)
    Job.fetch(job, redis).delete()
    clean(redis, records)
    assert status(records, job) == (Status.FAILED, "its job was removed from the queue: ask again")
    assert status(records, other) == (Status.QUEUED, None)


def test_what_has_ended_is_not_ended_again(redis: Redis, records: Records) -> None:
    job = asked(redis, records)
    records.cancel(job)
    Job.fetch(job, redis).delete()
    clean(redis, records)
    assert status(records, job) == (Status.CANCELED, None)
    assert redis.xlen(keys.events(job)) == 2


def test_what_is_past_its_time_leaves_nothing_behind_not_even_in_rq(redis: Redis, records: Records) -> None:
    canceled, kept = asked(redis, records), asked(redis, records)
    records.cancel(canceled)
    Job.fetch(canceled, redis).cancel()
    assert redis.ttl(Job.key_for(canceled)) == -1, "RQ would keep it for ever"
    clean(redis, records, keep_seconds=0)
    assert not [key for key in redis.scan_iter() if canceled.encode() in key]
    assert canceled not in Queue(keys.QUEUE, connection=redis).canceled_job_registry
    assert status(records, kept) == (Status.QUEUED, None)


def test_memory_is_bounded(redis: Redis, records: Records) -> None:
    jobs = [asked(redis, records) for _ in range(5)]
    for job in jobs[:3]:
        records.cancel(job)
    clean(redis, records, max_bytes=1)
    assert [records.get(job) is not None for job in jobs] == [False] * 3 + [True] * 2


def test_nothing_to_do_is_done(redis: Redis, tmp_path: Path) -> None:
    clean(redis, Records(redis))
    assert redis.dbsize() == 0
