"""Jobs that run: a real worker on a real Redis, in this process, on jobs as the app queues them."""

from __future__ import annotations

import base64
import io
import itertools
import time
from collections.abc import Callable

import pytest
from PIL import Image

from jobs import events
from jobs.pace import Pace
from jobs.records import Attempt, Records
from jobs.schema import Done
from tests.worker.harness import WorkerHarness


def test_job_finishes_in_the_record_and_in_rq_with_its_images(harness: WorkerHarness) -> None:
    job = harness.submit(count=5, labels=[0, 9, 10, 3, 3], guidance_scale=2.0, seed=7, steps=6, frames=3)
    harness.work()
    harness.assert_finished(job)
    assert harness.event_types(job) == ["queued", "started", "frame", "frame", "frame", "done"]
    assert harness.record(job).attempt == 1


def test_last_frame_shows_the_final_images(harness: WorkerHarness) -> None:
    job = harness.submit(count=3, steps=4, frames=2)
    harness.work()
    *_, last = events.frames(harness.redis, job)
    assert (last.step, last.steps, last.timestep, last.first) == (4, 4, 249, 0)
    for shown, stored in zip(last.images, harness.images(job), strict=True):
        seen, kept = (Image.open(io.BytesIO(data)) for data in (base64.b64decode(shown), stored))
        assert seen.tobytes() == kept.tobytes()


def test_png_holds_its_recipe_and_nothing_of_its_job(harness: WorkerHarness) -> None:
    job = harness.submit(count=2, first_index=5, seed=3, label="4", guidance_scale=2.0)
    harness.work()
    image = Image.open(io.BytesIO(harness.images(job)[1]))
    said = str(image.info)
    assert '"index": 6' in said
    assert '"seed": 3' in said
    assert harness.record(job).spec.digest in said
    assert job not in said
    assert "count" not in said


def test_jobs_of_different_sizes_share_the_batch(harness: WorkerHarness, at_step: Callable[..., list[int]]) -> None:
    steps = at_step(lambda _: None)
    large = harness.submit(count=40, steps=10, seed=1)
    sampler = itertools.cycle(["ddpm", "ddpm_beta"])
    small = [harness.submit(count=1 + i, steps=2 + i, seed=i, label=i, sampler=next(sampler)) for i in range(4)]
    harness.work()
    assert len(steps) < 30 + 2 + 3 + 4 + 5, "30 for the large one, in waves of 16; the others partly beside it"
    harness.assert_finished(large, *small)
    for job in small:
        assert harness.last_event_id(job, "done") < harness.last_event_id(large, "done")


def test_job_whose_done_is_answered_late_is_finished_in_rq(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch, at_step: Callable[..., list[int]]
) -> None:
    """Before the reply arrives, the worker polls the record, which has ended already."""
    finish = Records.finish

    def slow(records: Records, attempt: Attempt, done: Done) -> bool:
        written = finish(records, attempt, done)
        time.sleep(0.3)
        return written

    monkeypatch.setattr(Records, "finish", slow)
    at_step(lambda _: time.sleep(0.01))
    jobs = [harness.submit(steps=2), harness.submit(count=2, steps=40, seed=1)]
    harness.work()
    harness.assert_finished(*jobs)


def test_job_larger_than_the_batch_runs_in_waves(harness: WorkerHarness) -> None:
    job = harness.submit(count=50, steps=2, frames=1)
    harness.work()
    harness.assert_finished(job)
    firsts = [frame.first for frame in events.frames(harness.redis, job)]
    assert firsts == [0, 16, 32, 48]


def test_single_image_does_not_wait_for_large_jobs(harness: WorkerHarness, at_step: Callable[..., list[int]]) -> None:
    large = [harness.submit(count=100, steps=10, priority=priority) for priority in ("interactive", "batch") * 3]
    small: list[str] = []
    at_step(lambda number: small.append(harness.submit(steps=2)) if number == 20 else None)
    harness.work()
    harness.assert_finished(*large, *small)
    assert all(harness.last_event_id(small[0], "done") < harness.last_event_id(each, "done") for each in large)


def test_jobs_of_priority_batch_are_taken_one_after_another(harness: WorkerHarness) -> None:
    jobs = [harness.submit(count=40, priority="batch") for _ in range(4)]
    harness.work()
    harness.assert_finished(*jobs)
    first_done, last_started = harness.last_event_id(jobs[0], "done"), harness.last_event_id(jobs[3], "started")
    assert first_done < last_started, "the third may begin as the first ends"


def test_two_models_share_a_worker(two_models: WorkerHarness) -> None:
    a, b = two_models.submit(model="a", seed=1, steps=5), two_models.submit(model="b", seed=1, steps=5)
    two_models.work()
    two_models.assert_finished(a, b)
    assert two_models.images(a) != two_models.images(b)


def test_paces_include_the_drift_of_step_times(harness: WorkerHarness) -> None:
    worker = harness.worker()
    harness.submit(count=4, steps=10)
    harness.work(worker)
    [pace] = worker.batch.arbiter.paces().values()
    assert pace.batch == 16
    assert pace.drift != 1
    assert 0 < pace.of(4) < 1


def test_pace_far_too_slow_is_measured_again(harness: WorkerHarness) -> None:
    model = harness.catalog.get("tiny")
    assert model is not None
    model.network._pace = Pace(rows=[2], seconds=[5.0], slots=2)  # as if measured on a busy machine
    job = harness.submit(count=40, steps=5)
    harness.work()
    harness.assert_finished(job)
    assert model.network.pace.batch == 16


def test_step_time_excludes_the_time_between_jobs(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = harness.worker()
    collect = worker.batch._collect_ended

    def at_once() -> None:  # writes `done` immediately, so that the worker never idles while it waits for it
        worker.batch.publisher.flush()
        collect()

    monkeypatch.setattr(worker.batch, "_collect_ended", at_once)
    working = 0.0
    for _ in range(2):
        harness.submit(count=4, steps=10)
        began = time.perf_counter()
        worker.work(burst=True, logging_level="CRITICAL")
        working += time.perf_counter() - began
        time.sleep(1)
    worker.connection.close()
    [drift] = worker.batch.arbiter._drift.values()
    assert drift.actual < 1 + working  # the average starts at 1 s
