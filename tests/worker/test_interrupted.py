"""Jobs whose workers die, or are presumed dead."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from rq.executions import Execution
from rq.job import JobStatus

from jobs import events
from jobs.records import Attempt
from jobs.schema import Status
from tests.worker.floor import Floor
from worker.janitor import Janitor
from worker.sampling.batch_worker import EXECUTION_TTL_SECONDS


def test_job_of_a_dead_worker_is_retried_to_the_same_images(floor: Floor) -> None:
    job = floor.ask(count=3, seed=9)
    dead = floor.dies_with(job)
    retries = floor.rq_job(job).retries_left
    assert retries is not None
    floor.work()
    floor.assert_finished(job)
    record = floor.record(job)
    assert (record.attempt, record.crashes) == (2, 1)
    assert floor.rq_job(job).retries_left == retries - 1
    assert not floor.records.progress(dead, 1)


def test_cancel_of_a_retried_job_does_not_disturb_other_jobs(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    """RQ lists the dead worker's execution for a minute after it has deleted the execution itself."""
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


def test_worker_presumed_dead_leaves_the_job_to_its_successor(floor: Floor, at_step: Callable[..., list[int]]) -> None:
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
    assert floor.records.progress(attempt, 1)
    assert floor.images(job) == []
    assert floor.in_rq(job) is JobStatus.STARTED
    assert floor.in_rq(other) is JobStatus.FINISHED


def test_job_finished_before_its_worker_died_is_not_run_again(floor: Floor) -> None:
    """A worker may die after it has written `done` and before it has told RQ."""
    job = floor.ask()
    floor.work()
    images = floor.images(job)
    again = floor.rq_job(job)
    floor.queue.finished_job_registry.remove(again)
    floor.queue.enqueue_job(again)
    floor.work()
    assert floor.story(job).count("started") == 1
    assert floor.images(job) == images
    floor.assert_finished(job)


def test_job_that_killed_two_workers_runs_alone(floor: Floor, at_step: Callable[..., list[int]]) -> None:
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


def test_isolated_job_shares_the_batch_after_alone_seconds(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sampling.active_job.ALONE_SECONDS", 0.0)
    suspect = floor.ask(count=2, steps=30, seed=5)
    for _ in range(2):
        floor.records.begin(suspect)
    other = floor.ask(count=3, seed=1)
    floor.work()
    floor.assert_finished(suspect, other)
    assert floor.when(suspect, "started") < floor.when(other, "started") < floor.when(suspect, "done")


def test_job_that_kills_every_worker_is_given_up_after_its_retries(floor: Floor) -> None:
    job = floor.ask()
    retries = floor.rq_job(job).retries_left
    assert retries is not None
    for _ in range(retries + 1):
        floor.dies_with(job)
        floor.worker().run_maintenance_tasks()
    assert floor.in_rq(job) is JobStatus.FAILED
    Janitor(floor.redis, floor.records, keep_seconds=3600, max_bytes=1 << 40).clean()
    record = floor.record(job)
    assert record.status is Status.FAILED
    assert f"after {retries + 1} attempts" in (record.error or "")


def test_maintenance_lock_of_a_dead_worker_is_shortened(floor: Floor) -> None:
    key = floor.queue.registry_cleaning_key
    floor.redis.set(key, 1, ex=899)
    floor.worker().run_maintenance_tasks()
    assert 0 < floor.redis.ttl(key) <= EXECUTION_TTL_SECONDS


def test_beat_prolongs_worker_and_executions(floor: Floor, at_step: Callable[..., list[int]]) -> None:
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


def test_beat_before_rq_has_registered_the_worker_writes_nothing(floor: Floor) -> None:
    worker = floor.worker()
    worker.beat()
    assert not floor.redis.exists(worker.key)
    worker.connection.close()


def test_retry_resumes_from_the_saved_state(
    floor: Floor, at_step: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two waves are done and one is under way; neither is repeated."""
    monkeypatch.setattr("worker.sampling.batch.SAVE_SECONDS", 0.0)
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


def test_maintenance_keeps_the_executions_of_running_jobs(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    """RQ fails a job that is stuck in its intermediate queue, and with it deletes what it takes for its execution."""
    job, stuck, worker = floor.ask(steps=200), floor.ask(seed=1), floor.worker()
    intermediate = floor.queue.intermediate_queue
    floor.queue.remove(stuck)
    seen: list[list[str]] = []

    def act(number: int) -> None:
        if number == 3:
            floor.redis.rpush(intermediate.key, stuck)
            floor.redis.set(intermediate.get_first_seen_key(stuck), time.time() - 61)
            worker.last_cleaned_at = None
        if number == 5:
            seen.append(floor.queue.started_job_registry.get_job_ids(cleanup=False))

    at_step(act)
    floor.work(worker)
    assert job in seen[0]
    floor.assert_finished(job, stuck)
    assert floor.record(job).attempt == 1


def test_lost_job_is_queued_again_after_its_worker_died(floor: Floor) -> None:
    job = floor.ask()
    floor.dies_with(job)
    floor.redis.delete(floor.queue.started_job_registry.key)
    floor.work()
    assert floor.record(job).status is Status.RUNNING
    Janitor(floor.redis, floor.records, keep_seconds=3600, max_bytes=1 << 40).clean()
    floor.work()
    floor.assert_finished(job)
    assert floor.record(job).attempt == 2
