"""Forecasts compared with the scheduler run step by step, where a step takes the time of the pace."""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any

import pytest

from app.forecast import BUDGET, UNKNOWN_START_SECONDS, Forecast
from jobs.pace import Pace
from jobs.records import Record
from jobs.scheduler import Decision, Job, Scheduler, Span
from jobs.schema import JobSpec
from jobs.work import Ahead, Work
from tests.jobs.factories import spec

# mnist on two cores
PACE = Pace(rows=[2, 4, 8, 16, 32, 64], seconds=[0.006, 0.008, 0.011, 0.018, 0.032, 0.061], slots=64)
SMALL, LARGE = {"count": 1}, {"count": 1000}


def asked(**fields: Any) -> JobSpec:
    count = fields["count"]
    return spec(**{"steps": 30, "labels": [1] * count, "null_class": 10, "guidance_scale": 1.0} | fields)


def works(specs: list[JobSpec]) -> list[Work]:
    return [Record.new(str(i), each).work for i, each in enumerate(specs)]


def scheduled_end(specs: list[JobSpec], whose: int) -> float:
    """The time at which a job's last image is done, step by step; the jobs entered one after another."""
    scheduler, seconds = Scheduler(PACE), 0.0
    for i, each in enumerate(specs):
        evaluations = bytes(1 if each.guidance(image) == 1 else 2 for image in range(each.count))
        scheduler.add(Job(str(i), each.priority, each.steps, deque([Span(0, each.count)]), evaluations))
        scheduler.admit()
    while str(whose) in scheduler.keys:
        seconds += PACE.of(sum(wave.evaluations for wave in scheduler.decide().moving))
        scheduler.advance()
    return seconds


@pytest.mark.parametrize(
    ("jobs", "whose"),
    [
        ([SMALL], 0),
        ([{"count": 100}], 0),
        ([{"count": 40, "guidance_scale": 1.5}], 0),
        ([LARGE, {"count": 1, "steps": 100}], 1),
        ([{"count": 200}, {"count": 1, "steps": 100}], 0),
        ([{"count": 1, "steps": 200}] * 16, 3),
        ([{"count": 4}, {"count": 4}, {"count": 4, "steps": 60}], 2),
        ([LARGE, {"count": 8, "steps": 100}], 1),
        ([LARGE | {"priority": "batch"}, {"count": 1, "steps": 200}], 1),
        ([{"count": 16}, {"count": 64}], 1),
        ([{"count": 300}] * 4, 3),
        ([LARGE, LARGE, {"count": 1, "steps": 200}], 2),
        ([LARGE | {"priority": "batch"}, LARGE, LARGE, {"count": 2, "steps": 200}], 3),
    ],
    ids=str,
)
def test_forecast_is_within_20_percent_of_every_single_step(jobs: list[dict[str, Any]], whose: int) -> None:
    specs = [asked(**job) for job in jobs]
    running = works(specs)
    expected = Forecast(running, [], {"tiny": PACE}, 1).seconds(running[whose])
    assert expected == pytest.approx(scheduled_end(specs, whose), rel=0.2, abs=0.1)


def test_queued_job_comes_after_the_work_before_it() -> None:
    running = works([asked(**LARGE)] * 5)
    waits = Record.new("waits", asked(**SMALL)).work
    ahead = {"waits": Ahead(200, {"tiny": 5_000.0})}  # more jobs than are simulated
    expected = (5 * 30_000 + 5_000) * PACE.of(64) / 64
    forecast = Forecast(running, [], {"tiny": PACE}, 1, ahead=ahead)
    assert forecast.seconds(waits) == pytest.approx(expected, rel=0.05)
    assert forecast.position("waits") == 200


def test_queued_job_that_has_room_enters_at_once() -> None:
    running, waits = works([asked(**LARGE)]), Record.new("waits", asked(**SMALL)).work
    seconds = Forecast(running, [waits], {"tiny": PACE}, 1).seconds(waits)
    assert seconds is not None
    assert seconds < 1


def test_job_half_done_needs_half_the_time() -> None:
    [work] = works([asked(count=640, steps=1000)])
    half = dataclasses.replace(work, images_done=320, steps_done=320_000)
    whole_seconds, half_seconds = (Forecast([each], [], {"tiny": PACE}, 1).seconds(each) for each in (work, half))
    assert whole_seconds == pytest.approx(640_000 * PACE.of(64) / 64, rel=0.02)
    assert half_seconds == pytest.approx(320_000 * PACE.of(64) / 64, rel=0.02)


@pytest.mark.parametrize("state", ["running", "waiting"])
def test_job_with_all_images_done_ends_now(state: str) -> None:
    [done, other] = works([asked(count=2, steps=10), asked(count=2, steps=10, seed=1)])
    done = dataclasses.replace(done, steps_done=20, images_done=2)
    jobs = {"running": [other], "waiting": list[Work]()}
    jobs[state] = [done, *jobs[state]]
    forecast = Forecast(jobs["running"], jobs["waiting"], {done.model: PACE}, 1)
    assert forecast.seconds(done) == 0
    assert forecast.seconds(other) == Forecast([other], [], {done.model: PACE}, 1).seconds(other)


def test_two_workers_halve_the_time_of_a_queue() -> None:
    waiting = works([asked(count=64, steps=100)] * 12)
    one, two = (Forecast([], waiting, {"tiny": PACE}, workers).seconds(waiting[-1]) for workers in (1, 2))
    assert one == pytest.approx(12 * 100 * PACE.of(64), rel=0.1)
    assert two == pytest.approx(6 * 100 * PACE.of(64), rel=0.1)


def test_models_share_a_workers_time_evenly() -> None:
    running = works([asked(count=64), asked(count=64, model="other")])
    paces = {"tiny": PACE, "other": PACE}
    assert Forecast(running, [], paces, 1).seconds(running[0]) == pytest.approx(2 * 30 * 0.061, rel=0.05)


def test_time_until_a_model_is_ready_is_added() -> None:
    running = works([asked(**SMALL)])
    loading = PACE.model_copy(update={"ready_seconds": 9.0})
    assert Forecast(running, [], {"tiny": loading}, 1).seconds(running[0]) == pytest.approx(9 + 30 * 0.006, abs=0.1)


def test_unknown_pace_gives_no_forecast_and_a_default_retry_after() -> None:
    running = works([asked(**SMALL)])
    assert Forecast(running, [], {}, 1).seconds(running[0]) is None
    assert Forecast([], [], {"tiny": PACE}, 1, ahead={"0": Ahead(1, {"other": 3.0})}).seconds(running[0]) is None
    assert Forecast(running, running, {}, 1).start_seconds() == UNKNOWN_START_SECONDS


def test_start_is_when_the_first_waiting_job_finds_room() -> None:
    running = works([asked(count=64, steps=100)] * 40)
    waits = Record.new("waits", asked(**SMALL)).work
    seconds = Forecast(running, [waits], {"tiny": PACE}, 1).start_seconds()
    assert 100 * PACE.of(64) / 2 < seconds < 40 * 100 * PACE.of(64)


@pytest.mark.parametrize("count", [1, 64, 4096])
def test_long_queues_cost_a_bounded_number_of_decisions(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = 0
    decide = Scheduler.decide

    def counted(scheduler: Scheduler, seconds: float | None = None) -> Decision:
        nonlocal decisions
        decisions += 1
        return decide(scheduler, seconds)

    monkeypatch.setattr(Scheduler, "decide", counted)
    one = dataclasses.replace(works([asked(count=1, steps=1000)])[0], images=count, row_steps=count * 1000.0)
    waiting = [dataclasses.replace(one, job_id=str(i)) for i in range(1000)]
    forecast = Forecast([], waiting, {"tiny": PACE}, 1)
    assert forecast.seconds(waiting[0]) is not None
    assert decisions < BUDGET
    row_steps = {"tiny": 999 * count * 1000.0}
    last = Forecast([], waiting, {"tiny": PACE}, 1, ahead={"999": Ahead(999, row_steps)}).seconds(waiting[-1])
    assert last == pytest.approx(1000 * count * 1000 * PACE.of(64) / 64, rel=0.1)
