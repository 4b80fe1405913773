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
from tests.worker.harness import WorkerHarness
from worker.janitor import Janitor
from worker.sampling.batch_worker import EXECUTION_TTL_SECONDS


def test_job_of_a_dead_worker_is_retried_to_the_same_images(harness: WorkerHarness) -> None:
    job = harness.submit(count=3, seed=9)
    dead = harness.crash_worker_on(job)
    retries = harness.rq_job(job).retries_left
    assert retries is not None
    harness.work()
    harness.assert_finished(job)
    record = harness.record(job)
    assert (record.attempt, record.crashes) == (2, 1)
    assert harness.rq_job(job).retries_left == retries - 1
    assert not harness.records.progress(dead, 1)


def test_cancel_of_a_retried_job_does_not_disturb_other_jobs(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    """RQ lists the dead worker's execution for a minute after it has deleted the execution itself."""
    job = harness.submit(count=2, steps=1000)
    harness.crash_worker_on(job)
    assert harness.redis.zcard(f"rq:executions:{job}") == 1
    other = harness.submit(count=2, steps=60, seed=1)

    def cancel(number: int) -> None:
        if number == 3:
            assert harness.records.cancel(job)
        time.sleep(0.005)

    at_step(cancel)
    harness.work()
    assert harness.rq_status(job) is JobStatus.CANCELED
    harness.assert_finished(other)
    assert harness.record(other).attempt == 1


def test_worker_presumed_dead_leaves_the_job_to_its_successor(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    job, other = harness.submit(count=2, steps=1000), harness.submit(steps=60, seed=1)
    successor: list[Attempt | None] = []

    def supersede(number: int) -> None:
        if number == 3:
            successor.append(harness.records.begin(job))
        time.sleep(0.005)

    steps = at_step(supersede)
    harness.work()
    assert len(steps) < 500
    [attempt] = successor
    assert attempt is not None
    assert harness.records.progress(attempt, 1)
    assert harness.images(job) == []
    assert harness.rq_status(job) is JobStatus.STARTED
    assert harness.rq_status(other) is JobStatus.FINISHED


def test_job_finished_before_its_worker_died_is_not_run_again(harness: WorkerHarness) -> None:
    """A worker may die after it has written `done` and before it has told RQ."""
    job = harness.submit()
    harness.work()
    images = harness.images(job)
    again = harness.rq_job(job)
    harness.queue.finished_job_registry.remove(again)
    harness.queue.enqueue_job(again)
    harness.work()
    assert harness.event_types(job).count("started") == 1
    assert harness.images(job) == images
    harness.assert_finished(job)


def test_job_that_killed_two_workers_runs_alone(harness: WorkerHarness, at_step: Callable[..., list[int]]) -> None:
    killer = harness.submit(count=2, steps=30, seed=5)
    for _ in range(2):
        harness.records.begin(killer)
    before = [harness.submit(count=3, steps=20, seed=1), harness.submit(steps=5, seed=2)]
    after: list[str] = []

    def ask(number: int) -> None:
        if number % 7 == 0 and len(after) < 3:
            after.append(harness.submit(steps=4, seed=number))

    at_step(ask)
    harness.work()
    harness.assert_finished(killer, *before, *after)
    began, ended = harness.last_event_id(killer, "started"), harness.last_event_id(killer, "done")
    for other in [*before, *after]:
        assert harness.last_event_id(other, "done") < began or ended < harness.last_event_id(other, "started")


def test_isolated_job_shares_the_batch_after_alone_seconds(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.sampling.active_job.ALONE_SECONDS", 0.0)
    suspect = harness.submit(count=2, steps=30, seed=5)
    for _ in range(2):
        harness.records.begin(suspect)
    other = harness.submit(count=3, seed=1)
    harness.work()
    harness.assert_finished(suspect, other)
    started, done = harness.last_event_id(suspect, "started"), harness.last_event_id(suspect, "done")
    assert started < harness.last_event_id(other, "started") < done


def test_job_that_kills_every_worker_is_given_up_after_its_retries(harness: WorkerHarness) -> None:
    job = harness.submit()
    retries = harness.rq_job(job).retries_left
    assert retries is not None
    for _ in range(retries + 1):
        harness.crash_worker_on(job)
        harness.worker().run_maintenance_tasks()
    assert harness.rq_status(job) is JobStatus.FAILED
    Janitor(harness.redis, harness.records, keep_seconds=3600, max_bytes=1 << 40).clean()
    record = harness.record(job)
    assert record.status is Status.FAILED
    assert f"after {retries + 1} attempts" in (record.error or "")


def test_maintenance_lock_of_a_dead_worker_is_shortened(harness: WorkerHarness) -> None:
    key = harness.queue.registry_cleaning_key
    harness.redis.set(key, 1, ex=899)
    harness.worker().run_maintenance_tasks()
    assert 0 < harness.redis.ttl(key) <= EXECUTION_TTL_SECONDS


def test_beat_prolongs_worker_and_executions(harness: WorkerHarness, at_step: Callable[..., list[int]]) -> None:
    job, worker = harness.submit(steps=10), harness.worker()
    registry = harness.queue.started_job_registry
    seen: list[float] = []

    def beat(number: int) -> None:
        if number != 2:
            return
        [(entry, _)] = harness.redis.zrange(registry.key, 0, -1, withscores=True)
        harness.redis.zadd(registry.key, {entry: time.time() + 0.1})
        worker.beat()
        [(_, deadline)] = harness.redis.zrange(registry.key, 0, -1, withscores=True)
        seen.append(deadline - time.time())
        execution = Execution.from_composite_key(entry.decode(), harness.redis)
        assert harness.redis.ttl(execution.key) > 0
        assert harness.redis.ttl(worker.key) > EXECUTION_TTL_SECONDS

    at_step(beat)
    harness.work(worker)
    assert EXECUTION_TTL_SECONDS - 2 < seen[0] <= EXECUTION_TTL_SECONDS
    harness.assert_finished(job)


def test_beat_before_rq_has_registered_the_worker_writes_nothing(harness: WorkerHarness) -> None:
    worker = harness.worker()
    worker.beat()
    assert not harness.redis.exists(worker.key)
    worker.connection.close()


def test_retry_resumes_from_the_saved_state(
    harness: WorkerHarness, at_step: Callable[..., list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two waves are done and one is in progress; none of them starts anew."""
    monkeypatch.setattr("worker.sampling.batch.SAVE_SECONDS", 0.0)
    job = harness.submit(count=50, steps=4, seed=3)

    def die(number: int) -> None:
        if number == 11:
            raise KeyboardInterrupt

    numbers = at_step(die)
    harness.work()
    begun = len(numbers)
    harness.redis.delete(*harness.redis.keys("rq:execution:*"))
    for registered in harness.redis.zrange(harness.queue.started_job_registry.key, 0, -1):
        harness.redis.zadd(harness.queue.started_job_registry.key, {registered: time.time() - 1})
    harness.work()
    assert len(numbers) - begun == 5, "the last of the third wave, and the fourth"
    harness.assert_finished(job)
    assert harness.record(job).attempt == 2
    steps = [frame.step for frame in events.frames(harness.redis, job) if frame.first == 32]
    assert steps == sorted(steps)


def test_maintenance_keeps_the_executions_of_running_jobs(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    """RQ fails a job that is stuck in its intermediate queue, and deletes `worker.execution` as if it were its own."""
    job, stuck, worker = harness.submit(steps=200), harness.submit(seed=1), harness.worker()
    intermediate = harness.queue.intermediate_queue
    harness.queue.remove(stuck)
    seen: list[list[str]] = []

    def act(number: int) -> None:
        if number == 3:
            harness.redis.rpush(intermediate.key, stuck)
            harness.redis.set(intermediate.get_first_seen_key(stuck), time.time() - 61)
            worker.last_cleaned_at = None
        if number == 5:
            seen.append(harness.queue.started_job_registry.get_job_ids(cleanup=False))

    at_step(act)
    harness.work(worker)
    assert job in seen[0]
    harness.assert_finished(job, stuck)
    assert harness.record(job).attempt == 1


def test_lost_job_is_queued_again_after_its_worker_died(harness: WorkerHarness) -> None:
    job = harness.submit()
    harness.crash_worker_on(job)
    harness.redis.delete(harness.queue.started_job_registry.key)
    harness.work()
    assert harness.record(job).status is Status.RUNNING
    Janitor(harness.redis, harness.records, keep_seconds=3600, max_bytes=1 << 40).clean()
    harness.work()
    harness.assert_finished(job)
    assert harness.record(job).attempt == 2
