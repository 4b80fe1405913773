"""Jobs that fail or are canceled, without disturbing others."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq.job import Job, JobStatus

from jobs import events, models
from jobs.schema import Status
from tests.worker.conftest import change_weights
from tests.worker.harness import WorkerHarness, sampled_pngs
from worker.janitor import Janitor
from worker.sampling.engine import Engine, Step

POISON = 666  # a seed whose steps raise


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes every step of a job with the seed POISON raise."""
    step = Engine.step

    def fragile(engine: Engine, last_seconds: float | None = None) -> list[Step]:
        steps = step(engine, last_seconds)
        if any(each.task.seed == POISON for each in steps):
            raise RuntimeError("out of memory")
        return steps

    monkeypatch.setattr(Engine, "step", fragile)


def test_job_of_a_deleted_model_fails(redis: Redis, redis_url: str, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "gone")
    harness = WorkerHarness(redis, redis_url, tmp_path)
    job = harness.submit()
    shutil.rmtree(tmp_path / "gone")
    harness.catalog.scan()
    harness.work()
    assert_failed(harness, job, "model gone is not here: ask again")


def test_job_of_a_changed_model_fails(redis: Redis, redis_url: str, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "fickle")
    harness = WorkerHarness(redis, redis_url, tmp_path)
    old = harness.submit()
    change_weights(tmp_path / "fickle")
    harness.catalog.scan()
    models.publish(redis, "harness", harness.catalog.cards, {}, alive_seconds=600)
    new = harness.submit()
    harness.work()
    assert harness.record(old).status is Status.FAILED
    assert "has changed since the job was accepted" in (harness.record(old).error or "")
    harness.assert_finished(new)


def test_running_job_finishes_on_a_model_that_changes(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path, at_step: Callable[..., list[int]]
) -> None:
    shutil.copytree(tiny, tmp_path / "fickle")
    harness = WorkerHarness(redis, redis_url, tmp_path)
    before = harness.catalog.get("fickle")
    assert before is not None
    job = harness.submit(count=2, steps=5)

    def change(number: int) -> None:
        if number == 2:
            change_weights(tmp_path / "fickle")
            harness.catalog.scan()

    at_step(change)
    harness.work()
    assert harness.record(job).status is Status.FINISHED
    assert harness.images(job) == sampled_pngs(before, harness.record(job))


def assert_failed(harness: WorkerHarness, job: str, reason: str) -> None:
    record = harness.record(job)
    assert record.status is Status.FAILED
    assert reason in (record.error or "")
    assert harness.event_types(job)[-1] == "failed"
    assert harness.rq_status(job) is JobStatus.FAILED
    assert job in harness.queue.failed_job_registry
    harness.assert_queues_empty()


@pytest.mark.usefixtures("poisoned")
def test_step_error_fails_the_job_that_was_alone_in_it(harness: WorkerHarness) -> None:
    job = harness.submit(seed=POISON)
    harness.work()
    assert_failed(harness, job, "RuntimeError: out of memory")
    after = harness.submit(count=20)
    harness.work()
    harness.assert_finished(after)
    assert harness.record(job).attempt == 1


@pytest.mark.usefixtures("poisoned")
def test_step_error_of_several_jobs_fails_only_its_cause(harness: WorkerHarness) -> None:
    early, bad, late = (harness.submit(count=3, steps=5, seed=seed) for seed in (1, POISON, 2))
    harness.work()
    assert_failed(harness, bad, "out of memory")
    harness.assert_finished(early, late)
    for job in (early, late):
        assert harness.record(job).crashes == 0
        assert harness.event_types(job).count("done") == 1
        steps = [frame.step for frame in events.frames(harness.redis, job)]
        assert steps == sorted(set(steps))


def test_cancel_of_a_running_job(harness: WorkerHarness, at_step: Callable[..., list[int]]) -> None:
    job, other = harness.submit(count=4, steps=1000), harness.submit(count=2, steps=30, seed=1)

    def cancel(number: int) -> None:
        if number == 3:
            assert harness.records.cancel(job)
        time.sleep(0.005)

    steps = at_step(cancel)
    harness.work()
    assert len(steps) < 500
    assert harness.record(job).status is Status.CANCELED
    assert harness.images(job) == []
    assert harness.event_types(job)[-1] == "canceled"
    assert harness.rq_status(job) is JobStatus.CANCELED
    harness.assert_finished(other)


def test_cancel_of_a_waiting_job(harness: WorkerHarness) -> None:
    job, other = harness.submit(), harness.submit(seed=1)
    harness.records.cancel(job)
    harness.work()
    assert harness.event_types(job) == ["queued", "canceled"]
    assert harness.rq_status(job) is JobStatus.CANCELED
    harness.assert_finished(other)


def test_job_deleted_from_rq_while_it_runs_fails_alone(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    job, other = harness.submit(steps=1000), harness.submit(count=2, steps=60, seed=1)

    def remove(number: int) -> None:
        if number == 3:
            harness.redis.delete(Job.key_for(job))
            Janitor(harness.redis, harness.records, keep_seconds=3600, max_bytes=1 << 40).clean()
        time.sleep(0.005)

    at_step(remove)
    harness.work()
    assert harness.record(job).status is Status.FAILED
    assert harness.record(other).status is Status.FINISHED
    assert harness.rq_status(other) is JobStatus.FINISHED
    harness.assert_queues_empty()
