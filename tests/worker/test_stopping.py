"""A worker that is told to stop, or that fails, puts its jobs back without spending a retry."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis
from rq.job import JobStatus

from jobs import keys
from jobs.records import Attempt, Records
from jobs.schema import Done, Status
from tests.worker.harness import WorkerHarness
from worker.janitor import Janitor
from worker.main import run
from worker.sampling.batch_worker import BatchWorker
from worker.sampling.network import Network
from worker.settings import WorkerSettings


def stop() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def assert_put_back(harness: WorkerHarness, *jobs: str, crashes: int = 0) -> None:
    for job in jobs:
        assert harness.record(job).status is Status.QUEUED
        assert harness.record(job).crashes == crashes
        assert harness.rq_status(job) is JobStatus.QUEUED
        assert harness.rq_job(job).retries_left == 4
    assert harness.queue.job_ids == list(jobs)
    assert harness.queue.started_job_registry.get_job_ids(cleanup=False) == []


def test_sigterm_puts_jobs_back_in_order_without_spending_a_retry(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    jobs = [harness.submit(count=count, steps=12, seed=count) for count in (2, 20)]
    at_step(lambda number: stop() if number == 5 else None)
    harness.work()
    waiting = harness.submit(seed=3)
    assert harness.queue.job_ids == [*jobs, waiting]
    harness.queue.remove(waiting)
    assert_put_back(harness, *jobs)
    harness.work()
    for job in jobs:
        assert (harness.record(job).attempt, harness.record(job).crashes) == (2, 0)


def test_sigterm_while_a_network_is_compiled_puts_jobs_back_at_once(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = harness.submit()
    compiled = []

    def warm(_: Network) -> None:
        stop()
        for _ in range(40):
            time.sleep(0.1)
        compiled.append(1)

    with monkeypatch.context() as patch:
        patch.setattr(Network, "warm", warm)
        began = time.monotonic()
        harness.work()
        assert time.monotonic() - began < 3
    assert not compiled
    assert_put_back(harness, job)
    harness.work()
    harness.assert_finished(job)
    assert harness.record(job).crashes == 0


def test_job_finished_while_the_worker_stops_is_finished(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Records.finish

    def stopped(records: Records, attempt: Attempt, done: Done) -> bool:
        stop()
        time.sleep(0.3)
        return finish(records, attempt, done)

    monkeypatch.setattr(Records, "finish", stopped)
    job = harness.submit()
    harness.work()
    harness.assert_finished(job)


def test_job_canceled_while_the_worker_stops_is_canceled(
    harness: WorkerHarness, at_step: Callable[..., list[int]]
) -> None:
    job = harness.submit(steps=50)

    def act(number: int) -> None:
        if number == 5:
            harness.records.cancel(job)
            stop()

    at_step(act)
    harness.work()
    assert harness.rq_status(job) is JobStatus.CANCELED
    harness.assert_queues_empty()


def settings(redis_url: str, models: Path) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, models=models, slots=16, device="cpu")


def disk_full(*_: object) -> bool:
    raise OSError("no space left on device")


def test_unhandled_error_exits_with_1_and_puts_jobs_back(
    harness: WorkerHarness, redis_url: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [harness.submit(count=2, steps=20), harness.submit(steps=20, seed=1)]
    monkeypatch.setattr(Records, "store", disk_full)
    with pytest.raises(SystemExit) as exited:
        run(settings(redis_url, tiny.parent))
    assert exited.value.code == 1
    assert_put_back(harness, *jobs, crashes=1)


def test_job_that_fails_each_worker_by_an_unhandled_error_ends_as_failed(
    harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = harness.submit()
    monkeypatch.setattr(Records, "store", disk_full)
    for _ in range(3):
        harness.work()
    assert harness.record(job).status is Status.FAILED
    assert harness.record(job).error == "OSError: no space left on device"
    assert harness.rq_status(job) is JobStatus.FAILED


def test_worker_that_stops_deletes_its_key(
    redis: Redis, redis_url: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(worker: BatchWorker, **_: object) -> None:
        assert redis.exists(keys.worker(worker.name))
        stop()

    monkeypatch.setattr(BatchWorker, "work", work)
    with pytest.raises(SystemExit):
        run(settings(redis_url, tiny.parent))
    assert not redis.keys(keys.worker("*"))


def test_slow_upkeep_does_not_delay_the_heartbeat(
    redis: Redis, redis_url: str, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.main.UPKEEP_SECONDS", 0.05)
    monkeypatch.setattr("worker.main.HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr("worker.main.ALIVE_SECONDS", 1.0)
    monkeypatch.setattr(Janitor, "clean", lambda _: time.sleep(3))
    alive = []

    def work(worker: BatchWorker, **_: object) -> None:
        time.sleep(2)
        alive.append(redis.exists(keys.worker(worker.name)))
        stop()

    monkeypatch.setattr(BatchWorker, "work", work)
    with pytest.raises(SystemExit):
        run(settings(redis_url, tiny.parent))
    assert alive == [1]
