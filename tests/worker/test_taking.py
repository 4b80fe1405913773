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
from tests.worker.floor import Floor
from tests.worker.test_compiling import Compiler, compiler  # noqa: F401 (a fixture)
from worker.sampling.network import Network


@pytest.fixture
def no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unpickling fails."""

    def refuse(_: bytes) -> None:
        raise AssertionError("unpickled")

    monkeypatch.setattr(DefaultSerializer, "loads", refuse)


@pytest.mark.usefixtures("no_pickle")
def test_job_queued_with_pickle_by_an_earlier_version_is_run_without_unpickling(floor: Floor) -> None:
    job = floor.ask(steps=5)
    Job.fetch(job, floor.redis).delete()
    Queue(keys.QUEUE, connection=floor.redis).enqueue_call(keys.FUNCTION, args=(job,), job_id=job, result_ttl=60)
    pickled = zlib.decompress(floor.redis.hget(Job.key_for(job), "data"))
    assert pickled.startswith(b"\x80")
    floor.work()
    floor.assert_finished(job)
    assert zlib.decompress(floor.redis.hget(Job.key_for(job), "data")) == payload(job)


def test_jobs_are_queued_as_json(floor: Floor) -> None:
    job = floor.ask()
    data = zlib.decompress(floor.redis.hget(Job.key_for(job), "data"))
    assert json.loads(data) == [keys.FUNCTION, None, [job], {}]


def test_jobs_whose_network_is_compiled_are_left_to_other_workers(
    two_models: Floor,
    compiler: Compiler,  # noqa: F811
    at_step: Callable[..., list[int]],
) -> None:
    first = two_models.ask(model="a", steps=20)
    others = [two_models.ask(model="b", steps=1, seed=seed) for seed in range(40)]
    left: list[int] = []

    def act(number: int) -> None:
        if number == 10:
            left.append(len(two_models.queue.job_ids))
            compiler.finish()

    at_step(act)
    two_models.work()
    assert left[0] >= 20
    two_models.assert_finished(first, *others)


def test_models_are_prepared_while_jobs_run_elsewhere(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts beside busy ones has nothing else to do, as long as no job waits."""
    prepared = []
    monkeypatch.setattr(Network, "warm", lambda _: prepared.append(1))
    floor.records.begin(floor.ask())
    worker = floor.worker()
    worker.prepare_all()
    assert prepared == [1]
    floor.ask()
    worker.prepare_all()
    assert prepared == [1]
    worker.connection.close()


def test_suspended_worker_takes_no_more_jobs_and_finishes_what_runs(
    floor: Floor, at_step: Callable[..., list[int]]
) -> None:
    first, later = floor.ask(steps=100), list[str]()

    def act(number: int) -> None:
        if number == 5:
            suspend(floor.redis)
            time.sleep(0.2)
        if number == 10:
            later.append(floor.ask(seed=1))

    at_step(act)
    floor.work()
    assert floor.record(first).status is Status.FINISHED
    assert floor.record(later[0]).status is Status.QUEUED
    assert floor.queue.job_ids == later
    resume(floor.redis)
    floor.work()
    floor.assert_finished(first, *later)


def test_saved_state_of_all_jobs_of_a_worker_is_bounded(
    floor: Floor, at_step: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of 8×8 takes 512 bytes, as float32 with its x̂0."""
    monkeypatch.setattr("worker.sampling.batch.SAVE_SECONDS", 0.0, raising=False)
    monkeypatch.setattr("worker.sampling.batch_worker.SAVE_SECONDS", 0.0, raising=False)
    monkeypatch.setattr("worker.sampling.batch.MAX_SAVED_BYTES", 3 * 512, raising=False)
    jobs = [floor.ask(steps=40, seed=seed) for seed in range(6)]
    saved: list[int] = []

    def act(number: int) -> None:
        time.sleep(0.01)
        if number > 10:
            saved.append(sum(len(floor.redis.lrange(keys.state(job), 1, -1)) for job in jobs))

    at_step(act)
    floor.work()
    floor.assert_finished(*jobs)
    assert max(saved) == 3


def test_job_starts_anew_on_another_build_so_that_its_images_are_all_of_one(floor: Floor) -> None:
    job = floor.ask(count=20, steps=10)  # two waves, of which the first is stored
    before = floor.records.begin(job, "another build")
    assert before is not None
    floor.records.store(before, dict.fromkeys(range(16), b"stale"))
    floor.records.save(before, "another build", [b"chunk"])
    floor.records.put_back(before)
    floor.work()
    floor.assert_finished(job)
    record = floor.record(job)
    assert record.build == floor.build(job) != "another build"
    assert record.attempt == 2
