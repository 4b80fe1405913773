"""Images of the engine are functions of their requests only: the same bits in any batch, whole or resumed.

tests/jobs/test_scheduler.py tests which images enter and move.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from itertools import count as numbers
from typing import Any, get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from jobs.schema import TAKES_ETA, JobSpec, Thresholding
from model import images
from model.sampling import samplers
from model.sampling.samplers import SAMPLERS, SPACINGS
from tests.jobs.factories import spec
from worker.catalog import Model
from worker.sampling.chunks import Chunk, remaining
from worker.sampling.engine import Engine, Step, Task

NULL = 10  # the tiny network's null class
START_IMAGE = base64.b64encode(images.png(torch.arange(64, dtype=torch.uint8).view(1, 8, 8) * 4)).decode()

quick = settings(
    max_examples=15,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@st.composite
def specs(draw: st.DrawFn, max_count: int = 5) -> JobSpec:
    """Any request to the tiny network, in few steps."""
    count = draw(st.integers(1, max_count))
    sampler = draw(st.sampled_from(sorted(SAMPLERS)))
    image = draw(st.sampled_from([None, START_IMAGE]))
    return asked(
        count=count,
        first_index=draw(st.sampled_from([0, 3, 2**32 - 6])),
        seed=draw(st.sampled_from([0, 7, 2**63, 2**64 - 1])),
        steps=draw(st.integers(1, 5)),
        sampler=sampler,
        spacing=draw(st.sampled_from(sorted(SPACINGS))),
        eta=draw(st.sampled_from([0.0, 0.5, 1.0])) if sampler == TAKES_ETA else None,
        thresholding=draw(st.sampled_from(get_args(Thresholding))),
        image=image,
        start=1000 if image is None else draw(st.sampled_from([5, 600])),
        labels=draw(st.lists(st.integers(0, NULL), min_size=count, max_size=count)),
        guidance_scale=draw(st.sampled_from([0.0, 1.0, 2.5])),
    )


def asked(**fields: Any) -> JobSpec:
    count = fields.get("count", 1)
    return spec(**({"count": count, "labels": [3] * count, "null_class": NULL, "steps": 3} | fields))


def task(key: str, of: JobSpec, model: Model) -> Task:
    return Task.of(key, of, model.checkpoint.schedule, model.card.channels)


def engine(model: Model, slots: int) -> Engine:
    model.network._pace = model.network.pace.model_copy(update={"slots": slots})
    return Engine(model.network, model.shape)


def run(model: Model, slots: int, jobs: list[tuple[int, JobSpec]]) -> dict[str, Tensor]:
    """Images of each job by its index in `jobs`; a job arrives before the numbered step."""
    running, images = engine(model, slots), defaultdict[str, dict[int, Tensor]](dict)
    for now in numbers():
        for number, (arrival, each) in enumerate(jobs):
            if arrival == now:
                running.add(task(str(number), each, model))
        for step in running.step():
            if step.last:
                images[step.task.key] |= {step.first + i: x0 for i, x0 in enumerate(step.x0)}
        if running.idle and now >= max(arrival for arrival, _ in jobs):
            break
    for number, (_, each) in enumerate(jobs):
        assert sorted(images[str(number)]) == list(range(each.count)), "every image once"
    return {key: torch.stack([image for _, image in sorted(found.items())]) for key, found in images.items()}


def alone(model: Model, each: JobSpec) -> Tensor:
    return run(model, 64, [(0, each)])["0"]


@quick
@given(data=st.data(), mine=specs(), slots=st.integers(1, 9))
def test_batch_composition_arrival_and_slots_do_not_change_images(
    model: Model, data: st.DataObject, mine: JobSpec, slots: int
) -> None:
    others = data.draw(st.lists(st.tuples(st.integers(0, 6), specs()), max_size=4))
    arrival, place = data.draw(st.integers(0, 4)), data.draw(st.integers(0, len(others)))
    jobs = [*others[:place], (arrival, mine), *others[place:]]
    assert torch.equal(run(model, slots, jobs)[str(place)], alone(model, mine))


@quick
@given(mine=specs(), data=st.data())
def test_image_by_first_index_equals_image_of_larger_job(model: Model, mine: JobSpec, data: st.DataObject) -> None:
    assert mine.labels is not None
    k = data.draw(st.integers(0, mine.count - 1))
    only = mine.model_copy(update={"count": 1, "first_index": mine.first_index + k, "labels": mine.labels[k : k + 1]})
    assert torch.equal(alone(model, only)[0], alone(model, mine)[k])


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_engine_equals_reference_sampling_loop(model: Model, sampler: str) -> None:
    """Step by step, at the same precision, against samplers.sample (Ho et al. 2020, algorithm 2)."""
    mine = asked(count=6, labels=[0, 9, NULL, 5, 5, 1], steps=6, seed=2**64 - 1, guidance_scale=1.0, sampler=sampler)
    unet, table = model.checkpoint.unet, samplers.table(sampler, model.checkpoint.schedule, mine.steps)
    expected = list(samplers.sample(unet, table, seed=mine.seed, count=6, labels=torch.tensor(mine.labels)))
    running = engine(model, 8)
    running.add(task("mine", mine, model))
    for row, x0 in enumerate(expected):
        [step] = running.step()
        assert (step.row, step.timestep) == (row + 1, int(table.timesteps[row]))
        assert torch.equal(step.x0, x0)
    assert step.last
    assert running.idle


def test_every_field_of_the_recipe_changes_the_image(model: Model) -> None:
    """So the tests of equality do not compare constants."""
    mine = asked(seed=1, steps=4, guidance_scale=2.0)
    others: list[dict[str, Any]] = [
        {"seed": 2},
        {"first_index": 1},
        {"labels": [4]},
        {"steps": 5},
        {"guidance_scale": 1.0},
        {"sampler": "ddpm_beta"},
        {"sampler": "ddim", "eta": 0.0},
        {"sampler": "ddim", "eta": 0.5},
        {"sampler": "dpmpp_2m"},
        {"sampler": "heun"},
        {"spacing": "linspace"},
        {"thresholding": "none"},
        {"image": START_IMAGE},
        {"image": START_IMAGE, "start": 600},
    ]
    made = [alone(model, mine.model_copy(update=change)) for change in [{}, *others]]
    for i, one in enumerate(made):
        assert not any(torch.equal(one, other) for other in made[:i])


def test_start_image_is_kept_in_proportion_to_strength(exact: Model) -> None:
    """The result moves away from the start image as more noise is added to it."""
    pixels = images.read(base64.b64decode(START_IMAGE), channels=1)

    def distance(start: int) -> float:
        result = alone(exact, asked(image=START_IMAGE, start=start, steps=1, thresholding="none"))
        return (result[0] - pixels).abs().mean().item()

    assert distance(1) < 0.02
    assert distance(1) < distance(50) < distance(1000)


def test_count_and_frames_do_not_change_images(model: Model) -> None:
    few, many = asked(count=2, frames=0), asked(count=5, frames=3)
    assert torch.equal(alone(model, few), alone(model, many)[:2])


@quick
@given(data=st.data(), mine=specs(), slots=st.integers(1, 9))
def test_resumed_job_gives_the_same_images(model: Model, data: st.DataObject, mine: JobSpec, slots: int) -> None:
    """The job is interrupted at any steps; each time an engine with other slots resumes it from the saved chunks."""
    done, kept = dict[int, Tensor](), list[Chunk]()
    stops = data.draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 9)), max_size=3))
    for steps, size in [*stops, (10_000, slots)]:
        running = engine(model, size)
        chunks = remaining(mine.count, done, [Chunk.decode(chunk.encode()) for chunk in kept])
        running.add(Task.of("mine", mine, model.checkpoint.schedule, model.card.channels, chunks))
        for _ in range(steps):
            for step in running.step():
                if step.last:
                    done |= {step.first + i: x0 for i, x0 in enumerate(step.x0)}
            if running.idle:
                break
        kept = running.chunks("mine")
    assert torch.equal(torch.stack([image for _, image in sorted(done.items())]), alone(model, mine))


def keys_of(steps: list[Step]) -> set[str]:
    return {step.task.key for step in steps}


def test_jobs_share_a_step_and_new_jobs_enter_at_the_next(exact: Model) -> None:
    running = engine(exact, 8)
    running.add(task("large", asked(count=100, steps=5), exact))
    [step] = running.step()
    assert (step.task.key, len(step.x0)) == ("large", 8)
    running.add(task("small", asked(count=1), exact))
    assert "small" in keys_of(running.step()) | keys_of(running.step())


def test_empty_engine_is_idle_and_has_room(exact: Model) -> None:
    running = engine(exact, 1)
    assert running.idle
    assert running.has_room("interactive")
    assert running.has_room("batch")
    assert running.step() == []


def test_pace_measured_again_applies_at_once(exact: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    running = engine(exact, 2)
    running.add(task("large", asked(count=100, steps=50), exact))
    running.step()
    assert running.has_room("interactive")
    monkeypatch.setattr(exact.network, "_pace", exact.network.pace.model_copy(update={"slots": 0}))
    assert not running.has_room("interactive")


def test_removed_job_leaves_at_once_and_others_continue(exact: Model) -> None:
    mine = asked(count=3, steps=4, seed=5)
    running = engine(exact, 4)
    running.add(task("mine", mine, exact))
    running.add(task("other", asked(count=50, steps=50), exact))
    first = keys_of(running.step())
    assert first == {"mine", "other"}
    running.remove("other")
    running.remove("unknown")
    found: dict[int, Tensor] = {}
    while not running.idle:
        for step in running.step():
            assert step.task.key == "mine"
            if step.last:
                found |= {step.first + i: x0 for i, x0 in enumerate(step.x0)}
    assert torch.equal(torch.stack([found[i] for i in range(3)]), alone(exact, mine))


def test_removed_job_can_be_added_again(exact: Model) -> None:
    running = engine(exact, 4)
    running.add(task("mine", asked(count=2), exact))
    running.step()
    running.remove("mine")
    assert running.idle
    running.add(task("mine", asked(count=2), exact))
    assert [len(step.x0) for step in running.step()] == [2]


@pytest.mark.parametrize("wrong", [{"sampler": "euler"}, {"steps": 0}, {"steps": 1001}, {"steps": 2, "start": 1}])
def test_unknown_sampler_or_steps_raises_before_entering(exact: Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sampler|steps"):
        task("mine", asked(**wrong), exact)
