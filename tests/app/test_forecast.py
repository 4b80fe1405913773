"""Forecasts beside what the engine then does, in its own time: how long each step takes is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.forecast import Forecast
from jobs.pace import Pace
from jobs.records import Record
from jobs.schema import JobSpec
from jobs.work import Ahead, Work
from tests.jobs.made import spec
from worker.catalog import Model, load_model
from worker.sampling import network
from worker.sampling.engine import Engine, Task

# mnist on two cores
PACE = Pace(rows=[2, 4, 8, 16, 32, 64], seconds=[0.006, 0.008, 0.011, 0.018, 0.032, 0.061], slots=64)
SMALL, LARGE = {"count": 1}, {"count": 1000}


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "can_compile", lambda: False)
        loaded = load_model(tiny, torch.device("cpu"), slots=64, max_count=1000)
    loaded.network._pace = PACE
    return loaded


def asked(**fields: Any) -> JobSpec:
    count = fields["count"]
    return spec(**{"steps": 30, "labels": [1] * count, "null_class": 10, "guidance_scale": 1.0} | fields)


def works(specs: list[JobSpec]) -> list[Work]:
    return [Record.new(str(i), each).work for i, each in enumerate(specs)]


def finished_at(model: Model, specs: list[JobSpec], whose: int) -> float:
    """The engine's own time until a job's last image is done, all of them having begun one after another."""
    engine = Engine(model.network, model.shape)
    model.network._forward = lambda x, t, labels: torch.zeros_like(x)
    for i, each in enumerate(specs):
        engine.add(Task.of(str(i), each, model.checkpoint.schedule, 1))
        engine.step()
    left, seconds = specs[whose].count, 0.0
    while left:
        steps = engine.step()
        seconds += PACE.of(sum(step.evaluations for step in steps))
        left -= sum(len(step.x0) for step in steps if step.last and step.task.key == str(whose))
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
def test_within_a_fifth(model: Model, jobs: list[dict[str, Any]], whose: int) -> None:
    specs = [asked(**job) for job in jobs]
    running = works(specs)
    expected = Forecast(running, {"tiny": PACE}, 1).seconds(running[whose], None)
    assert expected == pytest.approx(finished_at(model, specs, whose), rel=0.2, abs=0.1)


def test_a_job_that_waits_for_others_comes_after_their_work() -> None:
    running = works([asked(**LARGE)])
    forecast = Forecast(running, {"tiny": PACE}, 1)
    waits = Record.new("waits", asked(**SMALL)).work
    full = PACE.of(64) / 64
    expected = (30_000 + 5_000) * full + 30 * PACE.of(1)
    assert forecast.seconds(waits, Ahead(7, {"tiny": 5_000.0})) == pytest.approx(expected, abs=0.1)
    alone = forecast.seconds(waits, Ahead(0, {}))
    assert alone is not None
    assert alone < 1, "it enters at once, and has its share of the time"


def test_two_workers_do_the_work_of_others_in_half_the_time() -> None:
    running = works([asked(**LARGE)])
    one, two = (Forecast(running, {"tiny": PACE}, workers) for workers in (1, 2))
    ahead = Ahead(1, {})
    assert two.backlog(ahead) == pytest.approx((one.backlog(ahead) or 0) / 2)


def test_models_share_the_time_evenly() -> None:
    running = works([asked(count=64), asked(count=64, model="other")])
    paces = {"tiny": PACE, "other": PACE}
    assert Forecast(running, paces, 1).seconds(running[0], None) == pytest.approx(2 * 30 * 0.061, rel=0.05)


def test_without_a_pace_there_is_no_forecast() -> None:
    running = works([asked(**SMALL)])
    assert Forecast(running, {}, 1).seconds(running[0], None) is None
    assert Forecast([], {"tiny": PACE}, 1).seconds(running[0], Ahead(1, {"other": 3.0})) is None
