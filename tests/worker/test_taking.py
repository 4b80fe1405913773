"""Which jobs a worker takes from the queue, and in which serialization."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable

import pytest
from rq import Queue
from rq.job import Job
from rq.serializers import DefaultSerializer
from rq.suspension import resume, suspend

from jobs import keys
from jobs.queue import payload
from jobs.schema import Status
from tests.worker.harness import WorkerHarness
from tests.worker.test_compiling import Compiler, compiler  # noqa: F401 (a fixture)
from worker.sampling.network import Network


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes unpickling raise."""

    def refuse(_: bytes) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(DefaultSerializer, "loads", refuse)


@pytest.mark.usefixtures("no_pickle")
def test_job_queued_with_pickle_by_an_earlier_version_is_run_without_unpickling(harness: WorkerHarness) -> None:
    job = harness.submit(steps=5)
    Job.fetch(job, harness.redis).delete()
    Queue(keys.QUEUE, connection=harness.redis).enqueue_call(keys.FUNCTION, args=(job,), job_id=job, result_ttl=60)
    pickled = zlib.decompress(harness.redis.hget(Job.key_for(job), "data"))
    assert pickled.startswith(b"\x80")
    harness.work()
    harness.assert_finished(job)
    assert zlib.decompress(harness.redis.hget(Job.key_for(job), "data")) == payload(job)


def test_jobs_are_queued_as_json(harness: WorkerHarness) -> None:
    job = harness.submit()
    data = zlib.decompress(harness.redis.hget(Job.key_for(job), "data"))
    assert json.loads(data) == [keys.FUNCTION, None, [job], {}]


def test_jobs_whose_network_is_compiled_are_left_to_other_workers(
    two_models: WorkerHarness,
    compiler: Compiler,  # noqa: F811
    at_step: Callable[..., list[int]],
) -> None:
    first = two_models.submit(model="a", steps=20)
    others = [two_models.submit(model="b", steps=1, seed=seed) for seed in range(40)]
    queued: list[int] = []

    def act(number: int) -> None:
        if number == 10:
            queued.append(len(two_models.queue.job_ids))
            compiler.finish()

    at_step(act)
    two_models.work()
    assert queued[0] >= 20
    two_models.assert_finished(first, *others)


def test_models_are_prepared_while_jobs_run_elsewhere(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    """While no job waits, a worker that starts beside busy ones prepares its models."""
    prepared = []
    monkeypatch.setattr(Network, "warm", lambda _: prepared.append(1))
    harness.records.begin(harness.submit())
    worker = harness.worker()
    worker.prepare_all()
    assert prepared == [1]
    harness.submit()
    worker.prepare_all()
    assert prepared == [1]
    worker.connection.close()


def test_suspended_worker_takes_no_more_jobs_and_finishes_what_runs(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    first, later = harness.submit(steps=100), list[str]()

    def act(number: int) -> None:
        if number == 5:
            suspend(harness.redis)
            time.sleep(0.2)
        if number == 10:
            later.append(harness.submit(seed=1))

    at_step(act)
    harness.work()
    assert harness.record(first).status is Status.FINISHED
    assert harness.record(later[0]).status is Status.QUEUED
    assert harness.queue.job_ids == later
    resume(harness.redis)
    harness.work()
    harness.assert_finished(first, *later)


def test_saved_state_of_all_jobs_of_a_worker_is_bounded(
    harness: WorkerHarness, at_step: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of 8×8 takes 512 bytes, as float32 with its x̂0."""
    monkeypatch.setattr("worker.sampling.batch.SAVE_SECONDS", 0.0, raising=False)
    monkeypatch.setattr("worker.sampling.batch_worker.SAVE_SECONDS", 0.0, raising=False)
    monkeypatch.setattr("worker.sampling.batch.MAX_SAVED_BYTES", 3 * 512, raising=False)
    jobs = [harness.submit(steps=40, seed=seed) for seed in range(6)]
    saved: list[int] = []

    def act(number: int) -> None:
        time.sleep(0.01)
        if number > 10:
            saved.append(sum(len(harness.redis.lrange(keys.state(job), 1, -1)) for job in jobs))

    at_step(act)
    harness.work()
    harness.assert_finished(*jobs)
    assert max(saved) == 3


def test_job_starts_anew_on_another_build_so_that_its_images_are_all_of_one(harness: WorkerHarness) -> None:
    job = harness.submit(count=20, steps=10)  # two waves, of which the first is stored
    before = harness.records.begin(job, "another build")
    assert before is not None
    harness.records.store(before, dict.fromkeys(range(16), b"stale"))
    harness.records.save(before, "another build", [b"chunk"])
    harness.records.put_back(before)
    harness.work()
    harness.assert_finished(job)
    record = harness.record(job)
    assert record.build == harness.build(job) != "another build"
    assert record.attempt == 2
