"""Which images enter the batch, which move, and how the machine's time is divided among jobs."""

from __future__ import annotations

from collections import deque
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.pace import Pace
from jobs.scheduler import Decision, Job, Scheduler, Span

MAX_DECISIONS = 10_000  # more than any test takes


def pace(slots: int, *, per_step: float = 0.004, per_row: float = 0.0019) -> Pace:
    """A linear cost, by default similar to mnist on two cores."""
    return Pace(rows=[1, 1000], seconds=[per_step + per_row, per_step + 1000 * per_row], slots=slots)


def job(key: str, count: int, steps: int = 50, priority: Literal["interactive", "batch"] = "interactive") -> Job:
    return Job(key, priority, steps, deque([Span(0, count)]))


def step(scheduler: Scheduler) -> Decision:
    decision = scheduler.decide()
    scheduler.advance()
    return decision


def moved(decision: Decision) -> dict[str, int]:
    """Number of images that moved, by job."""
    found: dict[str, int] = {}
    for wave in decision.moving:
        found[wave.job.key] = found.get(wave.job.key, 0) + wave.count
    return found


def inside(scheduler: Scheduler) -> set[str]:
    return {wave.job.key for wave in scheduler.waves}


# Time


def test_small_job_is_not_slowed_by_a_large_one_beyond_its_share() -> None:
    """The small job takes at most 2.5 times its time alone; the large one keeps at least half of its rate."""
    scheduler = Scheduler(pace(64))
    cost = scheduler.pace.of
    scheduler.add(job("large", 1000, steps=1000))
    step(scheduler)
    scheduler.add(job("small", 1, steps=400))
    seconds, of_large, of_small = 0.0, 0, 0
    while of_small < 400:
        sizes = moved(step(scheduler))
        seconds += cost(sum(sizes.values()))
        of_large += sizes.get("large", 0)
        of_small += sizes.get("small", 0)
    assert seconds < 2.5 * 400 * cost(1)
    assert of_large / seconds > 0.5 * 64 / cost(64)


def test_batch_priority_gets_a_quarter_of_the_time() -> None:
    scheduler, turns = Scheduler(pace(8, per_step=0.0, per_row=0.001)), {"batch": 0, "interactive": 0}
    scheduler.add(job("batch", 4, steps=1000, priority="batch"))
    scheduler.add(job("interactive", 4, steps=1000))
    for _ in range(100):
        for key in moved(step(scheduler)):
            turns[key] += 1
    assert turns["interactive"] == pytest.approx(4 * turns["batch"], rel=0.1)


def test_measured_seconds_are_charged_by_evaluations_and_weight() -> None:
    scheduler = Scheduler(pace(64))
    plain, guided = job("plain", 1), Job("guided", "interactive", 50, deque([Span(0, 1)]), bytes([2]))
    for each in (plain, guided):
        scheduler.add(each)
    assert moved(step(scheduler)) == {"plain": 1, "guided": 1}
    scheduler.decide(3.0)
    bonus = 1 + 0.1 / 64  # BULK_BONUS of one image in 64 slots
    assert plain.virtual_time == pytest.approx(1.0 / bonus)
    assert guided.virtual_time == pytest.approx(2.0 / bonus)


def test_riders_move_if_they_do_not_slow_the_step_down() -> None:
    """This is so on a GPU, where a step of few rows takes as long as one of many."""
    scheduler = Scheduler(pace(8, per_row=0.0))
    scheduler.add(job("large", 100))
    step(scheduler)
    scheduler.add(job("small", 1))
    for _ in range(20):
        assert set(moved(step(scheduler))) == {"large", "small"}


def test_riders_are_not_charged() -> None:
    """If they were, a large job that rode along for a minute would then wait for a minute."""
    scheduler = Scheduler(Pace(rows=[1, 9], seconds=[0.004, 0.004], slots=8))
    scheduler.add(job("large", 8, steps=1000))
    step(scheduler)
    scheduler.add(job("small", 1, steps=1000))
    for _ in range(200):
        assert set(moved(step(scheduler))) == {"large", "small"}
    scheduler.add(job("newcomer", 1, steps=1000))
    turns = sum("large" in moved(step(scheduler)) for _ in range(40))
    assert 5 < turns < 35


def test_equal_jobs_move_together_whenever_they_arrived() -> None:
    scheduler = Scheduler(pace(8))
    for key in "abc":
        scheduler.add(job(key, 1))
        step(scheduler)
    for _ in range(10):
        assert set(moved(step(scheduler))) == set("abc")


def test_no_more_images_move_at_once_than_slots() -> None:
    scheduler = Scheduler(pace(8))
    for key in "abcde":
        scheduler.add(job(key, 4))
        step(scheduler)
    assert len(inside(scheduler)) == 5
    for _ in range(10):
        assert sum(moved(step(scheduler)).values()) <= 8


# Admission


def test_newcomers_share_free_slots() -> None:
    scheduler = Scheduler(pace(8))
    for key in "abcd":
        scheduler.add(job(key, 100))
    assert moved(step(scheduler)) == {"a": 2, "b": 2, "c": 2, "d": 2}


def test_job_that_fits_enters_whole() -> None:
    scheduler = Scheduler(pace(8))
    scheduler.add(job("fits", 8))
    assert moved(step(scheduler)) == {"fits": 8}


def test_slots_of_finished_images_are_taken_at_the_next_step() -> None:
    scheduler = Scheduler(pace(4))
    scheduler.add(job("first", 4, steps=1))
    scheduler.add(job("second", 4, steps=1))
    assert moved(step(scheduler)) == {"first": 2, "second": 2}
    assert moved(step(scheduler)) == {"first": 2, "second": 2}
    assert scheduler.idle


def test_small_job_enters_beside_full_slots() -> None:
    scheduler = Scheduler(pace(8))
    for large in range(10):
        scheduler.add(job(f"large {large}", 100))
        step(scheduler)
    assert scheduler.has_room("interactive")
    scheduler.add(job("small", 1))
    step(scheduler)
    assert "small" in inside(scheduler)


def test_no_room_once_the_reserve_is_full() -> None:
    scheduler, added = Scheduler(pace(8)), 0
    while scheduler.has_room("interactive"):
        scheduler.add(job(str(added), 100))
        step(scheduler)
        added += 1
        assert len(inside(scheduler)) == added, "a job is accepted only where it enters"
    assert 8 < added <= 8 + scheduler.pace.reserve
    assert scheduler.images_inside == 8 + scheduler.pace.reserve


def test_batch_jobs_enter_one_after_another_and_interactive_ones_at_once() -> None:
    scheduler = Scheduler(pace(4))
    scheduler.add(job("first", 100, priority="batch"))
    step(scheduler)
    scheduler.add(job("second", 100, priority="batch"))
    scheduler.add(job("third", 100))
    step(scheduler)
    assert inside(scheduler) == {"first", "third"}
    assert not scheduler.has_room("batch")
    assert scheduler.has_room("interactive")
    scheduler.remove("first")
    step(scheduler)
    assert inside(scheduler) == {"second", "third"}


def test_spans_of_a_resumed_job_enter_at_their_rows() -> None:
    scheduler = Scheduler(pace(4))
    scheduler.add(Job("resumed", "interactive", 10, deque([Span(0, 3, row=7), Span(3, 5)])))
    decision = scheduler.decide()
    assert [(wave.first, wave.count, wave.row) for wave in decision.entering] == [(0, 3, 7), (3, 1, 0)]
    assert scheduler.waiting("resumed") == [Span(4, 4)]


@given(
    slots=st.integers(1, 6),
    jobs=st.lists(
        st.tuples(st.integers(0, 8), st.integers(1, 20), st.integers(1, 6), st.sampled_from(["interactive", "batch"])),
        min_size=1,
        max_size=6,
    ),
)
def test_every_image_takes_every_step_once_and_accepted_interactive_jobs_enter_at_once(
    slots: int, jobs: list[tuple[int, int, int, Literal["interactive", "batch"]]]
) -> None:
    scheduler, taken = Scheduler(pace(slots)), dict.fromkeys(range(len(jobs)), 0)
    for now in range(MAX_DECISIONS):
        had_room = scheduler.has_room("batch")
        arrived = [i for i, (arrival, *_) in enumerate(jobs) if arrival == now]
        for i in arrived:
            _, count, steps, priority = jobs[i]
            scheduler.add(job(str(i), count, steps, priority))
        decision = scheduler.decide()
        if had_room:
            accepted = {str(i) for i in arrived[:1] if jobs[i][3] == "interactive"}
            assert accepted <= {wave.job.key for wave in decision.entering}
        assert sum(wave.count for wave in decision.charged) <= slots
        for wave in decision.moving:
            taken[int(wave.job.key)] += wave.count
        scheduler.advance()
        if scheduler.idle and now >= max(arrival for arrival, *_ in jobs):
            break
    assert taken == {i: count * steps for i, (_, count, steps, _) in enumerate(jobs)}
