"""Law 5: nothing accepted is lost. A real worker on a real Redis, in this process, on jobs as the app queues them."""

from __future__ import annotations

import base64
import io
import itertools
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from redis import Redis
from rq.job import Job, JobStatus

from jobs import events, models
from jobs.pace import Pace
from jobs.records import Attempt, Records
from jobs.schema import Done, Status
from tests.worker.conftest import change_weights
from tests.worker.floor import Floor, drawn
from worker.janitor import Janitor
from worker.sampling.engine import Engine, Step

POISON = 666  # a seed that breaks a step


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed POISON breaks every step that it is in."""
    step = Engine.step

    def fragile(engine: Engine, took: float | None = None) -> list[Step]:
        steps = step(engine, took)
        if any(each.task.seed == POISON for each in steps):
            raise RuntimeError("no memory for this")
        return steps

    monkeypatch.setattr(Engine, "step", fragile)


# Done


def test_a_job_is_done_in_the_record_in_rq_and_in_its_pictures(floor: Floor) -> None:
    job = floor.ask(count=5, labels=[0, 9, 10, 3, 3], guidance_scale=2.0, seed=7, steps=6, frames=3)
    floor.work()
    floor.assert_finished(job)
    assert floor.story(job) == ["queued", "started", "frame", "frame", "frame", "done"]
    assert floor.record(job).attempt == 1


def test_the_last_frame_is_the_pictures(floor: Floor) -> None:
    job = floor.ask(count=3, steps=4, frames=2)
    floor.work()
    *_, last = events.frames(floor.redis, job)
    assert (last.step, last.steps, last.timestep, last.first) == (4, 4, 249, 0)
    for shown, stored in zip(last.images, floor.images(job), strict=True):
        seen, kept = (Image.open(io.BytesIO(data)) for data in (base64.b64decode(shown), stored))
        assert seen.tobytes() == kept.tobytes()


def test_a_picture_says_what_made_it_and_nothing_of_its_job(floor: Floor) -> None:
    job = floor.ask(count=2, first_index=5, seed=3, label="4", guidance_scale=2.0)
    floor.work()
    image = Image.open(io.BytesIO(floor.images(job)[1]))
    said = str(image.info)
    assert '"index": 6' in said
    assert '"seed": 3' in said
    assert floor.record(job).spec.digest in said
    assert job not in said
    assert "count" not in said


def test_jobs_of_all_sizes_share_the_batch(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    steps = at_step(lambda _: None)
    large = floor.ask(count=40, steps=10, seed=1)
    sampler = itertools.cycle(["ddpm", "ddpm_beta"])
    small = [floor.ask(count=1 + i, steps=2 + i, seed=i, label=i, sampler=next(sampler)) for i in range(4)]
    floor.work()
    assert len(steps) < 30 + 2 + 3 + 4 + 5, "30 for the large one, in waves of 16; the others partly beside it"
    floor.assert_finished(large, *small)
    for job in small:
        assert floor.when(job, "done") < floor.when(large, "done")


def test_a_job_whose_end_is_seen_before_it_is_confirmed_is_finished_in_rq_too(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, at_step: Callable[..., list[int]]
) -> None:
    """The answer to `done` may come late; meanwhile the worker sees that the job no longer runs."""
    finish = Records.finish

    def slow(records: Records, attempt: Attempt, done: Done) -> bool:
        written = finish(records, attempt, done)
        time.sleep(0.3)
        return written

    monkeypatch.setattr(Records, "finish", slow)
    at_step(lambda _: time.sleep(0.01))
    jobs = [floor.ask(steps=2), floor.ask(count=2, steps=40, seed=1)]
    floor.work()
    floor.assert_finished(*jobs)


def test_a_job_that_is_too_large_for_the_batch_comes_in_waves(floor: Floor) -> None:
    job = floor.ask(count=50, steps=2, frames=1)
    floor.work()
    floor.assert_finished(job)
    firsts = [frame.first for frame in events.frames(floor.redis, job)]
    assert firsts == [0, 16, 32, 48]


def test_one_picture_does_not_wait_for_many_jobs_that_fill_the_batch(
    floor: Floor, at_step: Callable[..., list[int]]
) -> None:
    large = [floor.ask(count=100, steps=10, priority=priority) for priority in ("interactive", "batch") * 3]
    small: list[str] = []
    at_step(lambda number: small.append(floor.ask(steps=2)) if number == 20 else None)
    floor.work()
    floor.assert_finished(*large, *small)
    assert all(floor.when(small[0], "done") < floor.when(each, "done") for each in large)


def test_of_the_class_batch_one_job_is_taken_after_another(floor: Floor) -> None:
    jobs = [floor.ask(count=40, priority="batch") for _ in range(4)]
    floor.work()
    floor.assert_finished(*jobs)
    assert floor.when(jobs[0], "done") < floor.when(jobs[3], "started"), "the third may begin as the first ends"


def test_two_models_take_turns(two_models: Floor) -> None:
    a, b = two_models.ask(model="a", seed=1, steps=5), two_models.ask(model="b", seed=1, steps=5)
    two_models.work()
    two_models.assert_finished(a, b)
    assert two_models.images(a) != two_models.images(b)


# Its pace


def test_the_pace_is_told_with_what_steps_really_take(floor: Floor) -> None:
    worker = floor.worker()
    floor.ask(count=4, steps=10)
    floor.work(worker)
    worker.connection = floor.redis
    worker.beat()
    [pace] = models.paces(floor.redis).values()
    assert pace.batch == 16
    assert pace.drift != 1
    assert 0 < pace.of(4) < 1


def test_a_pace_that_steps_contradict_is_measured_again(floor: Floor) -> None:
    model = floor.catalog.get("tiny")
    assert model is not None
    model.network._pace = Pace(rows=[2], seconds=[5.0], slots=2)  # as beside other work
    job = floor.ask(count=40, steps=5)
    floor.work()
    floor.assert_finished(job)
    assert model.network.pace.batch == 16


def test_the_time_between_jobs_is_not_that_of_a_step(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = floor.worker()
    settle = worker._settle

    def at_once() -> None:  # so that the worker never waits for a `done` to be written, and has nothing to do
        worker._publisher.flush()
        settle()

    monkeypatch.setattr(worker, "_settle", at_once)
    working = 0.0
    for _ in range(2):
        floor.ask(count=4, steps=10)
        began = time.perf_counter()
        worker.work(burst=True, logging_level="CRITICAL")
        working += time.perf_counter() - began
        time.sleep(1)
    worker.connection.close()
    [drift] = worker._drift.values()
    assert drift.actual < 1 + working  # a second is where it begins


# Failed


def test_a_model_that_is_gone_fails_the_job_with_the_reason(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "gone")
    floor = Floor(redis, redis_url, tmp_path)
    job = floor.ask()
    shutil.rmtree(tmp_path / "gone")
    floor.catalog.scan()
    floor.work()
    assert_failed(floor, job, "model gone is not here: ask again")


def test_a_model_that_has_changed_fails_the_job_with_the_reason(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path
) -> None:
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


def test_a_model_that_changes_meanwhile_lets_what_has_begun_finish(
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
def test_a_step_that_fails_fails_the_job_that_was_in_it(floor: Floor) -> None:
    job = floor.ask(seed=POISON)
    floor.work()
    assert_failed(floor, job, "RuntimeError: no memory for this")
    after = floor.ask(count=20)
    floor.work()
    floor.assert_finished(after)
    assert floor.record(job).attempt == 1, "a retry would fail likewise"


@pytest.mark.usefixtures("poisoned")
def test_a_step_that_fails_takes_no_neighbour_with_it(floor: Floor) -> None:
    early, bad, late = (floor.ask(count=3, steps=5, seed=seed) for seed in (1, POISON, 2))
    floor.work()
    assert_failed(floor, bad, "no memory for this")
    floor.assert_finished(early, late)
    for job in (early, late):
        assert floor.record(job).crashes == 0, "no worker has died"
        assert floor.story(job).count("done") == 1
        steps = [frame.step for frame in events.frames(floor.redis, job)]
        assert steps == sorted(set(steps))


# Canceled


def test_a_job_that_is_canceled_while_it_runs_is_let_go(floor: Floor, at_step: Callable[..., list[int]]) -> None:
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


def test_a_job_that_is_canceled_while_it_waits_is_not_run(floor: Floor) -> None:
    job, other = floor.ask(), floor.ask(seed=1)
    floor.records.cancel(job)
    floor.work()
    assert floor.story(job) == ["queued", "canceled"]
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_finished(other)


def test_a_job_that_rq_has_lost_while_it_ran_hurts_nobody(floor: Floor, at_step: Callable[..., list[int]]) -> None:
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
