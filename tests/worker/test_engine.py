"""Law 2: a picture is a function of its request, whoever shares the batch. Law 4: the batch never waits."""

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

from jobs.pace import Pace
from jobs.schema import TAKES_ETA, JobSpec, Thresholding
from model import images
from model.sampling import samplers
from model.sampling.samplers import SAMPLERS, SPACINGS
from tests.jobs.made import spec
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
    """Anything that may be asked of the tiny network, in few steps."""
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
    """The images of each job, which arrive before the numbered step; by their place in the list."""
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


# Law 2


@quick
@given(data=st.data(), mine=specs(), slots=st.integers(1, 9))
def test_strangers_order_arrival_and_slots_change_no_bit(
    model: Model, data: st.DataObject, mine: JobSpec, slots: int
) -> None:
    strangers = data.draw(st.lists(st.tuples(st.integers(0, 6), specs()), max_size=4))
    arrival, place = data.draw(st.integers(0, 4)), data.draw(st.integers(0, len(strangers)))
    jobs = [*strangers[:place], (arrival, mine), *strangers[place:]]
    assert torch.equal(run(model, slots, jobs)[str(place)], alone(model, mine))


@quick
@given(mine=specs(), data=st.data())
def test_an_image_asked_for_alone_is_that_image(model: Model, mine: JobSpec, data: st.DataObject) -> None:
    assert mine.labels is not None
    k = data.draw(st.integers(0, mine.count - 1))
    only = mine.model_copy(update={"count": 1, "first_index": mine.first_index + k, "labels": mine.labels[k : k + 1]})
    assert torch.equal(alone(model, only)[0], alone(model, mine)[k])


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_the_engine_is_the_plain_loop(model: Model, sampler: str) -> None:
    """Algorithm 2 as model.sampling.samplers has it, at the same precision, step by step."""
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


def test_what_shapes_a_picture_changes_it(model: Model) -> None:
    """So that equality above is not that of constants."""
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
    pictures = [alone(model, mine.model_copy(update=change)) for change in [{}, *others]]
    for i, one in enumerate(pictures):
        assert not any(torch.equal(one, other) for other in pictures[:i])


def test_a_job_begins_from_its_image(exact: Model) -> None:
    """By little noise little is changed, and by all of it next to nothing is kept."""
    pixels = images.read(base64.b64decode(START_IMAGE), channels=1)

    def distance(start: int) -> float:
        begun = alone(exact, asked(image=START_IMAGE, start=start, steps=1, thresholding="none"))
        return (begun[0] - pixels).abs().mean().item()

    assert distance(1) < 0.02
    assert distance(1) < distance(50) < distance(1000)


def test_count_and_frames_change_nothing(model: Model) -> None:
    few, many = asked(count=2, frames=0), asked(count=5, frames=3)
    assert torch.equal(alone(model, few), alone(model, many)[:2])


@quick
@given(data=st.data(), mine=specs(), slots=st.integers(1, 9))
def test_an_interruption_changes_no_bit(model: Model, data: st.DataObject, mine: JobSpec, slots: int) -> None:
    """Whenever it comes, and however often: the next engine, of another size, goes on with what was kept."""
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


# Law 4


def steps_of(steps: list[Step]) -> dict[str, list[int]]:
    """How many images of each task moved, wave by wave."""
    moved = defaultdict[str, list[int]](list)
    for step in steps:
        moved[step.task.key].append(len(step.x0))
    return dict(moved)


def test_a_small_job_does_not_wait_for_a_large_one(exact: Model) -> None:
    running = engine(exact, 8)
    running.add(task("large", asked(count=100, steps=5), exact))
    assert steps_of(running.step()) == {"large": [8]}
    running.add(task("small", asked(count=1), exact))
    moved = [steps_of(running.step()) for _ in range(2)]
    assert {"small": [1]} in moved


def at_cost(model: Model, monkeypatch: pytest.MonkeyPatch, *, each_step: float, each_row: float) -> None:
    pace = Pace(rows=[1, 1000], seconds=[each_step + each_row, each_step + 1000 * each_row], slots=64)
    monkeypatch.setattr(model.network, "_pace", pace)


def test_a_small_job_and_a_large_one_have_their_shares_of_the_time(
    exact: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At what a step costs on two cores, the small one takes at most 2.5 times as long as it would alone, while the
    large one keeps at least half of its rate."""
    at_cost(exact, monkeypatch, each_step=0.004, each_row=0.0019)
    cost, running = exact.network.pace.of, engine(exact, 64)
    running.add(task("large", asked(count=1000, steps=1000, guidance_scale=1.0), exact))
    running.step()
    running.add(task("small", asked(count=1, steps=400, guidance_scale=1.0), exact))
    seconds, moved = 0.0, 0
    for steps in iter(running.step, []):
        sizes = {step.task.key: len(step.x0) for step in steps}
        seconds += cost(sum(sizes.values()))
        moved += sizes.get("large", 0)
        if any(step.task.key == "small" and step.last for step in steps):
            break
    assert seconds < 2.5 * 400 * cost(1)
    assert moved / seconds > 0.5 * 64 / cost(64)


def test_the_class_batch_is_given_a_quarter_of_the_time_of_others(
    exact: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_cost(exact, monkeypatch, each_step=0.0, each_row=0.001)
    running, moved = engine(exact, 8), dict.fromkeys(("batch", "interactive"), 0)
    for priority in moved:
        running.add(task(priority, asked(count=4, steps=1000, guidance_scale=1.0, priority=priority), exact))
    for _ in range(100):
        for key in steps_of(running.step()):
            moved[key] += 1
    assert moved["interactive"] == pytest.approx(4 * moved["batch"], rel=0.1)


def test_of_the_class_batch_one_job_after_another_enters_and_others_at_once(exact: Model) -> None:
    running = engine(exact, 4)
    for key, priority in (("first", "batch"), ("second", "batch"), ("third", "interactive")):
        running.add(task(key, asked(count=100, steps=50, priority=priority), exact))
        running.step()
    assert keys_inside(running) == {"first", "third"}
    assert not running.has_room("batch")
    assert running.has_room("interactive")
    running.remove("first")
    running.step()
    assert keys_inside(running) == {"second", "third"}


def keys_inside(running: Engine) -> set[str]:
    """The tasks that have images under way, whether or not these move."""
    return {wave.task.key for wave in running._waves}


def test_who_costs_nothing_rides_along(exact: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where a step of few rows takes as long as one of many."""
    at_cost(exact, monkeypatch, each_step=0.004, each_row=0.0)
    running = engine(exact, 8)
    running.add(task("large", asked(count=100, steps=50), exact))
    running.step()
    running.add(task("small", asked(count=1, steps=50), exact))
    for _ in range(20):
        assert set(steps_of(running.step())) == {"large", "small"}


def test_who_rides_along_owes_nothing(exact: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a large job that rode along for a minute would stand still for as long once there is no free seat left."""
    monkeypatch.setattr(exact.network, "_pace", Pace(rows=[1, 9], seconds=[0.004, 0.004], slots=8))
    running = engine(exact, 8)
    running.add(task("large", asked(count=8, steps=1000, guidance_scale=1.0), exact))
    running.step()
    running.add(task("small", asked(count=1, steps=1000, guidance_scale=1.0), exact))
    for _ in range(200):
        assert set(steps_of(running.step())) == {"large", "small"}
    running.add(task("newcomer", asked(count=1, steps=1000, guidance_scale=1.0), exact))
    moved = [steps_of(running.step()) for _ in range(40)]
    assert 5 < sum("large" in steps for steps in moved) < 35


def test_equal_jobs_move_together_whenever_they_came(exact: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    at_cost(exact, monkeypatch, each_step=0.004, each_row=0.0019)
    running = engine(exact, 8)
    for key in "abc":
        running.add(task(key, asked(count=1, steps=50), exact))
        running.step()
    for _ in range(10):
        assert set(steps_of(running.step())) == set("abc")


def test_newcomers_share_what_is_free(exact: Model) -> None:
    running = engine(exact, 8)
    for key in "abcd":
        running.add(task(key, asked(count=100), exact))
    assert steps_of(running.step()) == {"a": [2], "b": [2], "c": [2], "d": [2]}


def test_a_job_that_fits_enters_whole(exact: Model) -> None:
    running = engine(exact, 8)
    running.add(task("fits", asked(count=8), exact))
    assert steps_of(running.step()) == {"fits": [8]}


def test_rows_that_leave_make_room_at_the_next_step(exact: Model) -> None:
    running = engine(exact, 4)
    running.add(task("short", asked(count=4, steps=1), exact))
    running.add(task("next", asked(count=4, steps=1), exact))
    assert steps_of(running.step()) == {"short": [2], "next": [2]}
    assert steps_of(running.step()) == {"short": [2], "next": [2]}
    assert running.idle


def test_however_many_fill_the_slots_a_small_job_enters(exact: Model) -> None:
    running = engine(exact, 8)
    for large in range(10):
        running.add(task(f"large {large}", asked(count=100, steps=50), exact))
        running.step()
    assert running.has_room("interactive")
    running.add(task("small", asked(count=1, steps=2), exact))
    running.step()
    assert "small" in keys_inside(running)


def test_where_many_have_entered_beside_the_slots_others_wait(exact: Model) -> None:
    running, taken = engine(exact, 8), 0
    while running.has_room("interactive"):
        running.add(task(str(taken), asked(count=100, steps=50), exact))
        running.step()
        taken += 1
        assert len(keys_inside(running)) == taken, "it was taken because it would enter"
    assert 8 < taken <= 8 + exact.network.pace.reserve
    assert running.rows == 8 + exact.network.pace.reserve


def test_no_more_move_at_once_than_there_are_slots(exact: Model) -> None:
    running = engine(exact, 8)
    for key in "abcde":
        running.add(task(key, asked(count=4, steps=50), exact))
        running.step()
    assert len(keys_inside(running)) == 5
    for _ in range(10):
        assert sum(len(step.x0) for step in running.step()) <= 8


def test_an_empty_engine_has_room_and_nothing_to_do(exact: Model) -> None:
    running = engine(exact, 1)
    assert running.idle
    assert running.has_room("interactive")
    assert running.has_room("batch")
    assert running.step() == []


@settings(quick, max_examples=10)
@given(slots=st.integers(1, 6), jobs=st.lists(st.tuples(st.integers(0, 5), specs(max_count=7)), min_size=1, max_size=4))
def test_everything_ends_within_its_rows_and_no_newcomer_waits_while_there_is_room(
    exact: Model, slots: int, jobs: list[tuple[int, JobSpec]]
) -> None:
    running, left, known = engine(exact, slots), sum(each.count for _, each in jobs), set[str]()
    for now in range(1000):
        had_room = running.has_room("batch")
        arrived = [(str(i), each) for i, (arrival, each) in enumerate(jobs) if arrival == now]
        for key, each in arrived:
            running.add(task(key, each, exact))
        steps = running.step()
        moved = {step.task.key for step in steps}
        if had_room:
            assert {key for key, _ in arrived[:1]} <= keys_inside(running) | moved, (
                "it was taken because it would enter"
            )
        known |= moved
        assert sum(map(len, running._moved)) <= slots
        left -= sum(len(step.x0) for step in steps if step.last)
        if left == 0:
            break
    assert running.idle
    assert known == {str(i) for i in range(len(jobs))}


# Removed


def test_a_removed_job_is_gone_at_once_and_the_others_stay(exact: Model) -> None:
    mine = asked(count=3, steps=4, seed=5)
    running = engine(exact, 4)
    running.add(task("mine", mine, exact))
    running.add(task("other", asked(count=50, steps=50), exact))
    first = steps_of(running.step())
    assert set(first) == {"mine", "other"}
    running.remove("other")
    running.remove("never there")
    found: dict[int, Tensor] = {}
    while not running.idle:
        for step in running.step():
            assert step.task.key == "mine"
            if step.last:
                found |= {step.first + i: x0 for i, x0 in enumerate(step.x0)}
    assert torch.equal(torch.stack([found[i] for i in range(3)]), alone(exact, mine))


def test_a_removed_job_may_come_back(exact: Model) -> None:
    running = engine(exact, 4)
    running.add(task("mine", asked(count=2), exact))
    running.step()
    running.remove("mine")
    assert running.idle
    running.add(task("mine", asked(count=2), exact))
    assert steps_of(running.step()) == {"mine": [2]}


@pytest.mark.parametrize("wrong", [{"sampler": "euler"}, {"steps": 0}, {"steps": 1001}, {"steps": 2, "start": 1}])
def test_what_cannot_be_run_is_refused_before_it_enters(exact: Model, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"sampler|steps"):
        task("mine", asked(**wrong), exact)
