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
from tests.worker.floor import Floor, drawn
from worker.janitor import Janitor
from worker.sampling.engine import Engine, Step

POISON = 666  # a seed whose steps raise


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step with the seed POISON raises."""
    step = Engine.step

    def fragile(engine: Engine, last_seconds: float | None = None) -> list[Step]:
        steps = step(engine, last_seconds)
        if any(each.task.seed == POISON for each in steps):
            raise RuntimeError("out of memory")
        return steps

    monkeypatch.setattr(Engine, "step", fragile)


def test_job_of_a_deleted_model_fails(redis: Redis, redis_url: str, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "gone")
    floor = Floor(redis, redis_url, tmp_path)
    job = floor.ask()
    shutil.rmtree(tmp_path / "gone")
    floor.catalog.scan()
    floor.work()
    assert_failed(floor, job, "model gone is not here: ask again")


def test_job_of_a_changed_model_fails(redis: Redis, redis_url: str, tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "fickle")
    floor = Floor(redis, redis_url, tmp_path)
    old = floor.ask()
    change_weights(tmp_path / "fickle")
    floor.catalog.scan()
    models.publish(redis, "floor", floor.catalog.cards, {}, alive_seconds=600)
    new = floor.ask()
    floor.work()
    assert floor.record(old).status is Status.FAILED
    assert "has changed since the job was accepted" in (floor.record(old).error or "")
    floor.assert_finished(new)


def test_running_job_finishes_on_a_model_that_changes(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path, at_step: Callable[..., list[int]]
) -> None:
    shutil.copytree(tiny, tmp_path / "fickle")
    floor = Floor(redis, redis_url, tmp_path)
    before = floor.catalog.get("fickle")
    assert before is not None
    job = floor.ask(count=2, steps=5)

    def change(number: int) -> None:
        if number == 2:
            change_weights(tmp_path / "fickle")
            floor.catalog.scan()

    at_step(change)
    floor.work()
    assert floor.record(job).status is Status.FINISHED
    assert floor.images(job) == drawn(before, floor.record(job))


def assert_failed(floor: Floor, job: str, reason: str) -> None:
    record = floor.record(job)
    assert record.status is Status.FAILED
    assert reason in (record.error or "")
    assert floor.story(job)[-1] == "failed"
    assert floor.in_rq(job) is JobStatus.FAILED
    assert job in floor.queue.failed_job_registry
    floor.assert_nothing_left()


@pytest.mark.usefixtures("poisoned")
def test_step_error_fails_the_job_that_was_alone_in_it(floor: Floor) -> None:
    job = floor.ask(seed=POISON)
    floor.work()
    assert_failed(floor, job, "RuntimeError: out of memory")
    after = floor.ask(count=20)
    floor.work()
    floor.assert_finished(after)
    assert floor.record(job).attempt == 1


@pytest.mark.usefixtures("poisoned")
def test_step_error_of_several_jobs_fails_only_its_cause(floor: Floor) -> None:
    early, bad, late = (floor.ask(count=3, steps=5, seed=seed) for seed in (1, POISON, 2))
    floor.work()
    assert_failed(floor, bad, "out of memory")
    floor.assert_finished(early, late)
    for job in (early, late):
        assert floor.record(job).crashes == 0
        assert floor.story(job).count("done") == 1
        steps = [frame.step for frame in events.frames(floor.redis, job)]
        assert steps == sorted(set(steps))


def test_cancel_of_a_running_job(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    job, other = floor.ask(count=4, steps=1000), floor.ask(count=2, steps=30, seed=1)

    def cancel(number: int) -> None:
        if number == 3:
            assert floor.records.cancel(job)
        time.sleep(0.005)

    steps = at_step(cancel)
    floor.work()
    assert len(steps) < 500
    assert floor.record(job).status is Status.CANCELED
    assert floor.images(job) == []
    assert floor.story(job)[-1] == "canceled"
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_finished(other)


def test_cancel_of_a_waiting_job(floor: Floor) -> None:
    job, other = floor.ask(), floor.ask(seed=1)
    floor.records.cancel(job)
    floor.work()
    assert floor.story(job) == ["queued", "canceled"]
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_finished(other)


def test_job_deleted_from_rq_while_it_runs_fails_alone(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    job, other = floor.ask(steps=1000), floor.ask(count=2, steps=60, seed=1)

    def remove(number: int) -> None:
        if number == 3:
            floor.redis.delete(Job.key_for(job))
            Janitor(floor.redis, floor.records, keep_seconds=3600, max_bytes=1 << 40).clean()
        time.sleep(0.005)

    at_step(remove)
    floor.work()
    assert floor.record(job).status is Status.FAILED
    assert floor.record(other).status is Status.FINISHED
    assert floor.in_rq(other) is JobStatus.FINISHED
    floor.assert_nothing_left()
