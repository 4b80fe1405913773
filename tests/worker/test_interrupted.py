"""Law 5 when workers die, are only thought dead, or are asked to stop."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
from rq.executions import Execution
from rq.job import Job, JobStatus

from jobs import events
from jobs.records import Attempt, Records
from jobs.schema import Done, Status
from tests.worker.floor import Floor
from worker.janitor import Janitor
from worker.sampling import batch_worker
from worker.sampling.batch_worker import EXECUTION_TTL_SECONDS


def test_a_job_whose_worker_died_is_run_again_to_the_same_pictures(floor: Floor) -> None:
    job = floor.ask(count=3, seed=9)
    dead = floor.dies_with(job)
    retries = Job.fetch(job, floor.redis).retries_left
    assert retries is not None
    floor.work()
    floor.assert_finished(job)
    record = floor.record(job)
    assert (record.attempt, record.crashes) == (2, 1)
    assert Job.fetch(job, floor.redis).retries_left == retries - 1
    assert not floor.records.progress(dead, 1)


def test_canceling_a_job_whose_first_worker_died_hurts_nobody(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    """RQ keeps the dead worker's execution in a list for a minute after it has forgotten the execution itself."""
    job = floor.ask(count=2, steps=1000)
    floor.dies_with(job)
    assert floor.redis.zcard(f"rq:executions:{job}") == 1
    other = floor.ask(count=2, steps=60, seed=1)

    def cancel(number: int) -> None:
        if number == 3:
            assert floor.records.cancel(job)
        time.sleep(0.005)

    at_step(cancel)
    floor.work()
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_finished(other)
    assert floor.record(other).attempt == 1


def test_a_worker_that_was_only_thought_dead_leaves_the_job_to_its_successor(
    floor: Floor, at_step: Callable[..., list[int]]
) -> None:
    job, other = floor.ask(count=2, steps=1000), floor.ask(steps=60, seed=1)
    successor: list[Attempt | None] = []

    def supersede(number: int) -> None:
        if number == 3:
            successor.append(floor.records.begin(job))
        time.sleep(0.005)

    steps = at_step(supersede)
    floor.work()
    assert len(steps) < 500
    [attempt] = successor
    assert attempt is not None
    assert floor.records.progress(attempt, 1), "it still holds the job"
    assert floor.images(job) == []
    assert floor.in_rq(job) is JobStatus.STARTED, "RQ is told nothing of a job that another runs"
    assert floor.in_rq(other) is JobStatus.FINISHED


def test_a_job_that_was_finished_before_its_worker_died_is_not_run_again(floor: Floor) -> None:
    """Between `done` and RQ's hearing of it lies a moment in which a worker may die."""
    job = floor.ask()
    floor.work()
    images = floor.images(job)
    again = Job.fetch(job, floor.redis)
    floor.queue.finished_job_registry.remove(again)
    floor.queue.enqueue_job(again)
    floor.work()
    assert floor.story(job).count("started") == 1
    assert floor.images(job) == images
    floor.assert_finished(job)


def test_a_job_that_killed_two_workers_runs_without_neighbours(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    killer = floor.ask(count=2, steps=30, seed=5)
    for _ in range(2):
        floor.records.begin(killer)
    before = [floor.ask(count=3, steps=20, seed=1), floor.ask(steps=5, seed=2)]
    after: list[str] = []

    def ask(number: int) -> None:
        if number % 7 == 0 and len(after) < 3:
            after.append(floor.ask(steps=4, seed=number))

    at_step(ask)
    floor.work()
    floor.assert_finished(killer, *before, *after)
    began, ended = floor.when(killer, "started"), floor.when(killer, "done")
    for other in [*before, *after]:
        assert floor.when(other, "done") < began or ended < floor.when(other, "started")


def test_after_a_while_it_has_neighbours_again(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_worker, "ALONE_SECONDS", 0.0)
    suspect = floor.ask(count=2, steps=30, seed=5)
    for _ in range(2):
        floor.records.begin(suspect)
    other = floor.ask(count=3, seed=1)
    floor.work()
    floor.assert_finished(suspect, other)
    assert floor.when(suspect, "started") < floor.when(other, "started") < floor.when(suspect, "done")


def test_a_job_that_kills_every_worker_is_given_up(floor: Floor) -> None:
    job = floor.ask()
    retries = Job.fetch(job, floor.redis).retries_left
    assert retries is not None
    for _ in range(retries + 1):
        floor.dies_with(job)
        floor.worker().run_maintenance_tasks()
    assert floor.in_rq(job) is JobStatus.FAILED
    Janitor(floor.redis, floor.records, keep_seconds=3600, max_bytes=1 << 40).clean()
    record = floor.record(job)
    assert record.status is Status.FAILED
    assert f"after {retries + 1} attempts" in (record.error or "")


def test_the_lock_of_a_worker_that_died_in_maintenance_does_not_last(floor: Floor) -> None:
    key = floor.queue.registry_cleaning_key
    floor.redis.set(key, 1, ex=899)
    floor.worker().run_maintenance_tasks()
    assert 0 < floor.redis.ttl(key) <= EXECUTION_TTL_SECONDS


def test_beats_keep_what_is_held_alive(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    job, worker = floor.ask(steps=10), floor.worker()
    registry = floor.queue.started_job_registry
    seen: list[float] = []

    def beat(number: int) -> None:
        if number != 2:
            return
        [(entry, _)] = floor.redis.zrange(registry.key, 0, -1, withscores=True)
        floor.redis.zadd(registry.key, {entry: time.time() + 0.1})
        worker.beat()
        [(_, deadline)] = floor.redis.zrange(registry.key, 0, -1, withscores=True)
        seen.append(deadline - time.time())
        execution = Execution.from_composite_key(entry.decode(), floor.redis)
        assert floor.redis.ttl(execution.key) > 0
        assert floor.redis.ttl(worker.key) > EXECUTION_TTL_SECONDS

    at_step(beat)
    floor.work(worker)
    assert EXECUTION_TTL_SECONDS - 2 < seen[0] <= EXECUTION_TTL_SECONDS
    floor.assert_finished(job)


def test_a_worker_that_has_not_begun_does_not_beat(floor: Floor) -> None:
    worker = floor.worker()
    worker.beat()
    assert not floor.redis.exists(worker.key)
    worker.connection.close()


def test_a_job_goes_on_where_its_dead_worker_last_kept_it(
    floor: Floor, at_step: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two waves of it are done and one is under way; none of that is done again."""
    monkeypatch.setattr("worker.sampling.batch_worker.SAVE_SECONDS", 0.0)
    job = floor.ask(count=50, steps=4, seed=3)

    def die(number: int) -> None:
        if number == 11:
            raise KeyboardInterrupt

    numbers = at_step(die)
    floor.work()
    begun = len(numbers)
    floor.redis.delete(*floor.redis.keys("rq:execution:*"))
    for registered in floor.redis.zrange(floor.queue.started_job_registry.key, 0, -1):
        floor.redis.zadd(floor.queue.started_job_registry.key, {registered: time.time() - 1})
    floor.work()
    assert len(numbers) - begun == 5, "the last of the third wave, and the fourth"
    floor.assert_finished(job)
    assert floor.record(job).attempt == 2
    steps = [frame.step for frame in events.frames(floor.redis, job) if frame.first == 32]
    assert steps == sorted(steps)


# Asked to stop


def test_a_worker_that_is_asked_to_stop_puts_its_jobs_back(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    jobs = [floor.ask(count=count, steps=12, seed=count) for count in (2, 20)]
    retries = [Job.fetch(job, floor.redis).retries_left for job in jobs]
    at_step(lambda number: os.kill(os.getpid(), signal.SIGTERM) if number == 5 else None)
    floor.work()
    for job in jobs:
        assert floor.record(job).status is Status.QUEUED
        assert floor.in_rq(job) is JobStatus.QUEUED
    waiting = floor.ask(seed=3)
    assert floor.queue.job_ids == [*jobs, waiting], "in their order, before whoever came later"
    assert floor.queue.started_job_registry.get_job_ids(cleanup=False) == []
    assert [Job.fetch(job, floor.redis).retries_left for job in jobs] == retries
    floor.work()
    floor.assert_finished(*jobs, waiting)
    for job in jobs:
        assert (floor.record(job).attempt, floor.record(job).crashes) == (2, 0)


def test_what_was_done_as_the_worker_stopped_stays_done(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = Records.finish

    def stopped(records: Records, attempt: Attempt, done: Done) -> bool:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        return finish(records, attempt, done)

    monkeypatch.setattr(Records, "finish", stopped)
    job = floor.ask()
    floor.work()
    floor.assert_finished(job)


def test_what_was_canceled_as_the_worker_stopped_stays_canceled(
    floor: Floor, at_step: Callable[..., list[int]]
) -> None:
    job = floor.ask(steps=50)

    def stop(number: int) -> None:
        if number == 5:
            floor.records.cancel(job)
            os.kill(os.getpid(), signal.SIGTERM)

    at_step(stop)
    floor.work()
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_nothing_left()
