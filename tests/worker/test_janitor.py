"""The janitor fails or requeues jobs that RQ does not run any more, and deletes old ones."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from app.settings import AppSettings
from app.submit import submit
from jobs import keys, models
from jobs.queue import rq_queue
from jobs.records import Records
from jobs.schema import GenerateRequest, Status
from tests.jobs.factories import CARD
from worker.janitor import Janitor

PLENTY = 1 << 40


@pytest.fixture
def records(redis: Redis) -> Records:
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    return Records(redis)


def submitted(redis: Redis, records: Records) -> str:
    return submit(GenerateRequest(count=1), None, redis, records, AppSettings()).job_id


def clean(redis: Redis, records: Records, *, keep_seconds: float = 3600, max_bytes: int = PLENTY) -> None:
    Janitor(redis, records, keep_seconds=keep_seconds, max_bytes=max_bytes).clean()


def status(records: Records, job: str) -> tuple[Status, str | None]:
    record = records.get(job)
    assert record is not None
    return record.status, record.error


def test_job_pending_in_rq_is_unchanged(redis: Redis, records: Records) -> None:
    waiting, held = submitted(redis, records), submitted(redis, records)
    records.begin(held)
    Job.fetch(held, redis).set_status(JobStatus.STARTED)
    clean(redis, records)
    assert status(records, waiting) == (Status.QUEUED, None)
    assert status(records, held) == (Status.RUNNING, None)


@pytest.mark.parametrize("given_up", [JobStatus.FAILED, JobStatus.STOPPED, JobStatus.CANCELED])
def test_job_given_up_by_rq_fails(redis: Redis, records: Records, given_up: JobStatus) -> None:
    job, other = submitted(redis, records), submitted(redis, records)
    records.begin(job)
    Job.fetch(job, redis).set_status(given_up)
    clean(redis, records)
    is_now, why = status(records, job)
    assert is_now is Status.FAILED
    assert "after 1 attempts" in (why or "")
    assert status(records, other) == (Status.QUEUED, None)


def test_job_deleted_from_rq_fails(redis: Redis, records: Records) -> None:
    job, other = submitted(redis, records), submitted(redis, records)
    Job.fetch(job, redis).delete()
    clean(redis, records)
    assert status(records, job) == (Status.FAILED, "its job was removed from the queue: ask again")
    assert status(records, other) == (Status.QUEUED, None)


def test_ended_job_is_unchanged(redis: Redis, records: Records) -> None:
    job = submitted(redis, records)
    records.cancel(job)
    Job.fetch(job, redis).delete()
    clean(redis, records)
    assert status(records, job) == (Status.CANCELED, None)
    assert redis.xlen(keys.events(job)) == 2


def test_expired_job_is_deleted_from_rq_too(redis: Redis, records: Records) -> None:
    canceled, kept = submitted(redis, records), submitted(redis, records)
    records.cancel(canceled)
    Job.fetch(canceled, redis).cancel()
    assert redis.ttl(Job.key_for(canceled)) == -1, "RQ would keep it for ever"
    clean(redis, records, keep_seconds=0)
    assert not [key for key in redis.scan_iter() if canceled.encode() in key]
    assert canceled not in Queue(keys.QUEUE, connection=redis).canceled_job_registry
    assert status(records, kept) == (Status.QUEUED, None)


def test_over_max_bytes_ended_jobs_are_deleted(redis: Redis, records: Records) -> None:
    jobs = [submitted(redis, records) for _ in range(5)]
    for job in jobs[:3]:
        records.cancel(job)
    clean(redis, records, max_bytes=1)
    assert [records.get(job) is not None for job in jobs] == [False] * 3 + [True] * 2


def test_clean_on_an_empty_redis_writes_nothing(redis: Redis) -> None:
    clean(redis, Records(redis))
    assert redis.dbsize() == 0


def started(redis: Redis, records: Records) -> str:
    """A job with the RQ status `started` that is in no queue and has no execution."""
    job = submitted(redis, records)
    records.begin(job)
    Job.fetch(job, redis).set_status(JobStatus.STARTED)
    redis.lrem(Queue(keys.QUEUE, connection=redis).key, 1, job)
    return job


def test_started_job_in_no_registry_is_queued_again_at_the_front(redis: Redis, records: Records) -> None:
    lost, waiting = started(redis, records), submitted(redis, records)
    clean(redis, records)
    assert Queue(keys.QUEUE, connection=redis).job_ids == [lost, waiting]
    assert Job.fetch(lost, redis).get_status() is JobStatus.QUEUED
    again = records.begin(lost)
    assert again is not None
    assert again.crashes == 1


def test_several_janitors_queue_a_lost_job_once(redis: Redis, redis_url: str, records: Records) -> None:
    lost = [started(redis, records) for _ in range(20)]

    def run(_: int) -> None:
        with Redis.from_url(redis_url) as own:
            clean(own, Records(own))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(8)))
    assert sorted(Queue(keys.QUEUE, connection=redis).job_ids) == sorted(lost)


def test_job_that_a_worker_is_taking_is_not_queued_again(redis: Redis, records: Records) -> None:
    """It is in the intermediate queue, then also in the registry of started jobs, then only there."""
    job_id = submitted(redis, records)
    worker = SimpleWorker([rq_queue(redis)], connection=redis, serializer=JSONSerializer)
    found = Queue.dequeue_any(worker.queues, None, connection=redis, serializer=JSONSerializer)
    assert found is not None
    for step in (
        lambda: None,
        lambda: worker.prepare_execution(found[0]),
        lambda: worker.prepare_job_execution(found[0], remove_from_intermediate_queue=True),
    ):
        step()
        clean(redis, records)
        assert worker.queues[0].job_ids == []
    assert status(records, job_id) == (Status.QUEUED, None)


def test_clean_does_not_read_specs(redis: Redis, records: Records) -> None:
    """With its start image a spec takes up to 256 kB."""
    job = submitted(redis, records)
    redis.hset(keys.job(job), "spec", "not JSON")
    clean(redis, records)
    assert redis.hget(keys.job(job), "status") == b"queued"
