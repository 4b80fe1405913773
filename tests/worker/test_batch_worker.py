"""Law 5: nothing accepted is lost. A real worker on a real Redis, in this process, on jobs as the app queues them."""

from __future__ import annotations

import base64
import io
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing import Pipe, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from redis import Redis
from rq import Queue
from rq.executions import Execution
from rq.job import Job, JobStatus

from app.settings import AppSettings
from app.submit import submit
from jobs import events, keys, models
from jobs.pace import Pace
from jobs.records import Attempt, Record, Records
from jobs.schema import Done, GenerateRequest, Status
from jobs.store import RedisStore
from model.images import png
from tests.worker.test_catalog import change_weights
from worker import batch_worker, offline
from worker.batch_worker import EXECUTION_TTL_SECONDS, BatchWorker
from worker.catalog import Catalog, Model
from worker.engine import Engine, Step
from worker.janitor import Janitor
from worker.network import Network

POISON = 666  # a seed that breaks a step
FOREVER = 10_000  # steps of the engine in which a test would long have ended


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """RQ's worker leaves its signal handlers behind."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class Floor:
    """Where jobs are put and worked on."""

    def __init__(self, redis: Redis, redis_url: str, folder: Path) -> None:
        self.redis, self.folder = redis, folder
        self.records, self.queue = Records(redis), Queue(keys.QUEUE, connection=redis)
        self.catalog = Catalog(folder, device=torch.device("cpu"), slots=16, max_count=200)
        self.catalog.scan()
        models.publish(redis, "floor", self.catalog.cards, {}, alive_seconds=600)
        self._url, self._names = redis_url, itertools.count()

    def ask(self, **body: Any) -> str:
        request = GenerateRequest(**{"steps": 3, "frames": 2} | body)
        return submit(request, None, self.redis, self.records, AppSettings(redis_url=self._url)).job_id

    def worker(self) -> BatchWorker:
        own = Redis.from_url(self._url)
        return BatchWorker(own, self.catalog, name=f"worker-{next(self._names)}")

    def work(self, worker: BatchWorker | None = None) -> None:
        """Until the queue is empty, or the worker is asked to stop."""
        worker = worker or self.worker()
        try:
            worker.work(burst=True, logging_level="CRITICAL")
        finally:
            worker._publisher.flush()  # one that was interrupted may still be writing
            worker.connection.close()

    def record(self, job: str) -> Record:
        record = self.records.get(job)
        assert record is not None
        return record

    def in_rq(self, job: str) -> JobStatus:
        return Job.fetch(job, self.redis).get_status()

    def images(self, job: str) -> list[bytes]:
        return list(RedisStore(self.redis).get_all(job).values())

    def story(self, job: str) -> list[str]:
        return [fields[b"type"].decode() for _, fields in self.redis.xrange(keys.events(job))]

    def when(self, job: str, kind: str) -> tuple[int, ...]:
        """The place in time of a job's last event of this kind."""
        ids = [id for id, fields in self.redis.xrange(keys.events(job)) if fields[b"type"] == kind.encode()]
        return tuple(map(int, ids[-1].decode().split("-")))

    def assert_finished(self, *jobs: str) -> None:
        for job in jobs:
            record = self.record(job)
            assert (record.status, record.error) == (Status.FINISHED, None)
            assert record.images_done == record.spec.count == len(self.images(job))
            assert record.steps_done == record.spec.count * record.spec.steps
            assert self.in_rq(job) is JobStatus.FINISHED
            assert job in self.queue.finished_job_registry
            assert self.images(job) == self.expected(record)
        self.assert_nothing_left()

    def assert_nothing_left(self) -> None:
        assert self.queue.job_ids == []
        assert self.queue.intermediate_queue.get_job_ids() == []
        assert self.queue.started_job_registry.get_job_ids(cleanup=False) == []
        assert self.records.active() == []

    def expected(self, record: Record) -> list[bytes]:
        """What the request gives without any service."""
        model = self.catalog.get(record.spec.model)
        assert model is not None
        return drawn(model, record)

    def dies_with(self, job: str) -> Attempt:
        """A worker takes this job, the next in the queue, and is never heard of again: RQ and time have passed on."""
        worker = self.worker()
        found = Queue.dequeue_any([self.queue], None, connection=worker.connection)
        assert found is not None
        assert found[0].id == job
        worker.prepare_execution(found[0])
        worker.prepare_job_execution(found[0], remove_from_intermediate_queue=True)
        attempt = self.records.begin(job)
        assert attempt is not None
        assert worker.execution is not None
        self.redis.zadd(self.queue.started_job_registry.key, {worker.execution.composite_key: time.time() - 1})
        self.redis.delete(worker.execution.key)
        worker.connection.close()
        return attempt


def drawn(model: Model, record: Record) -> list[bytes]:
    pixels = offline.sample(model, record.spec)
    return [png(image, record.spec.recipe(i)) for i, image in enumerate(pixels)]


@pytest.fixture
def floor(redis: Redis, redis_url: str, tiny: Path) -> Floor:
    return Floor(redis, redis_url, tiny.parent)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Has something done before each step of any engine, which is given the step's number; lists the numbers."""

    def install(do: Callable[[int], None]) -> list[int]:
        numbers: list[int] = []
        step = Engine.step

        def observed(engine: Engine, took: float | None = None) -> list[Step]:
            numbers.append(len(numbers))
            assert numbers[-1] < FOREVER
            do(numbers[-1])
            return step(engine, took)

        monkeypatch.setattr(Engine, "step", observed)
        return numbers

    return install


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seed POISON breaks every step that it is in."""
    step = Engine.step

    def fragile(engine: Engine, took: float | None = None) -> list[Step]:
        steps = step(engine, took)
        if any(each.task.seed == POISON for each in steps):
            raise RuntimeError("no memory for this")
        return steps

    monkeypatch.setattr(Engine, "step", fragile)


# Done


def test_a_job_is_done_in_the_record_in_rq_and_in_its_pictures(floor: Floor) -> None:
    job = floor.ask(count=5, labels=[0, 9, 10, 3, 3], guidance_scale=2.0, seed=7, steps=6, frames=3)
    floor.work()
    floor.assert_finished(job)
    assert floor.story(job) == ["queued", "started", "frame", "frame", "frame", "done"]
    assert floor.record(job).attempt == 1


def test_the_last_frame_is_the_pictures(floor: Floor) -> None:
    job = floor.ask(count=3, steps=4, frames=2)
    floor.work()
    *_, last = events.frames(floor.redis, job)
    assert (last.step, last.steps, last.timestep, last.first) == (4, 4, 249, 0)
    for shown, stored in zip(last.images, floor.images(job), strict=True):
        seen, kept = (Image.open(io.BytesIO(data)) for data in (base64.b64decode(shown), stored))
        assert seen.tobytes() == kept.tobytes()


def test_a_picture_says_what_made_it_and_nothing_of_its_job(floor: Floor) -> None:
    job = floor.ask(count=2, first_index=5, seed=3, label="4", guidance_scale=2.0)
    floor.work()
    image = Image.open(io.BytesIO(floor.images(job)[1]))
    said = str(image.info)
    assert '"index": 6' in said
    assert '"seed": 3' in said
    assert floor.record(job).spec.digest in said
    assert job not in said
    assert "count" not in said


def test_jobs_of_all_sizes_share_the_batch(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    steps = at_step(lambda _: None)
    large = floor.ask(count=40, steps=10, seed=1)
    sampler = itertools.cycle(["ddpm", "ddpm_beta"])
    small = [floor.ask(count=1 + i, steps=2 + i, seed=i, label=i, sampler=next(sampler)) for i in range(4)]
    floor.work()
    assert len(steps) < 30 + 2 + 3 + 4 + 5, "30 for the large one, in waves of 16; the others partly beside it"
    floor.assert_finished(large, *small)
    for job in small:
        assert floor.when(job, "done") < floor.when(large, "done")


def test_a_job_whose_end_is_seen_before_it_is_confirmed_is_finished_in_rq_too(
    floor: Floor, monkeypatch: pytest.MonkeyPatch, at_step: Callable[..., list[int]]
) -> None:
    """The answer to `done` may come late; meanwhile the worker sees that the job no longer runs."""
    finish = Records.finish

    def slow(records: Records, attempt: Attempt, done: Done) -> bool:
        written = finish(records, attempt, done)
        time.sleep(0.3)
        return written

    monkeypatch.setattr(Records, "finish", slow)
    at_step(lambda _: time.sleep(0.01))
    jobs = [floor.ask(steps=2), floor.ask(count=2, steps=40, seed=1)]
    floor.work()
    floor.assert_finished(*jobs)


def test_a_job_that_is_too_large_for_the_batch_comes_in_waves(floor: Floor) -> None:
    job = floor.ask(count=50, steps=2, frames=1)
    floor.work()
    floor.assert_finished(job)
    firsts = [frame.first for frame in events.frames(floor.redis, job)]
    assert firsts == [0, 16, 32, 48]


def test_one_picture_does_not_wait_for_many_jobs_that_fill_the_batch(
    floor: Floor, at_step: Callable[..., list[int]]
) -> None:
    large = [floor.ask(count=100, steps=10, priority=priority) for priority in ("interactive", "batch") * 3]
    small: list[str] = []
    at_step(lambda number: small.append(floor.ask(steps=2)) if number == 20 else None)
    floor.work()
    floor.assert_finished(*large, *small)
    assert all(floor.when(small[0], "done") < floor.when(each, "done") for each in large)


def test_of_the_class_batch_one_job_is_taken_after_another(floor: Floor) -> None:
    jobs = [floor.ask(count=40, priority="batch") for _ in range(4)]
    floor.work()
    floor.assert_finished(*jobs)
    assert floor.when(jobs[0], "done") < floor.when(jobs[3], "started"), "the third may begin as the first ends"


@pytest.fixture
def two_models(redis: Redis, redis_url: str, tiny: Path, tmp_path: Path) -> Floor:
    for name in "ab":
        shutil.copytree(tiny, tmp_path / name)
    change_weights(tmp_path / "b")
    return Floor(redis, redis_url, tmp_path)


def test_two_models_take_turns(two_models: Floor) -> None:
    a, b = two_models.ask(model="a", seed=1, steps=5), two_models.ask(model="b", seed=1, steps=5)
    two_models.work()
    two_models.assert_finished(a, b)
    assert two_models.images(a) != two_models.images(b)


class Compiler:
    """A process that takes as long as it is told to, in place of those that compile."""

    def __init__(self) -> None:
        self._told, self._tell = Pipe(duplex=False)
        self.processes: list[SpawnProcess] = []

    def __call__(self, name: str) -> SpawnProcess:
        self.processes.append(get_context("spawn").Process(target=self._told.recv))
        self.processes[-1].start()
        return self.processes[-1]

    def finish(self) -> None:
        for process in self.processes:
            self._tell.send("done")
            process.join()


@pytest.fixture
def compiler(two_models: Floor, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    compiler = Compiler()
    monkeypatch.setattr(Network, "is_new", True)
    monkeypatch.setattr(two_models.catalog, "compile_apart", compiler)
    yield compiler
    compiler.finish()


def test_jobs_go_on_while_the_network_of_others_is_compiled(
    two_models: Floor, compiler: Compiler, at_step: Callable[..., list[int]]
) -> None:
    first = two_models.ask(model="a", steps=20)
    others = [two_models.ask(model="b", seed=seed) for seed in (1, 2)]
    canceled = two_models.ask(model="b", steps=50)

    def act(number: int) -> None:
        if number == 10:
            assert [two_models.record(job).status for job in others] == [Status.QUEUED] * 2
            two_models.records.cancel(canceled)
            compiler.finish()

    at_step(act)
    two_models.work()
    assert len(compiler.processes) == 1
    two_models.assert_finished(first, *others)
    assert two_models.when(others[0], "started") > two_models.when(first, "started")
    assert two_models.record(canceled).status is Status.CANCELED


def test_a_job_does_not_wait_for_other_models_to_be_made_ready(
    two_models: Floor, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []

    def asked_meanwhile(name: str) -> SpawnProcess:
        jobs.append(two_models.ask(model="b"))
        return compiler(name)

    monkeypatch.setattr(two_models.catalog, "compile_apart", asked_meanwhile)
    worker = two_models.worker()
    worker.make_ready()
    two_models.work(worker)
    two_models.assert_finished(*jobs)
    [process] = compiler.processes
    assert process.is_alive()


def test_jobs_that_wait_for_their_network_are_put_back_too(
    two_models: Floor, compiler: Compiler, at_step: Callable[..., list[int]]
) -> None:
    jobs = [two_models.ask(model=model, steps=12) for model in "ab"]
    at_step(lambda number: os.kill(os.getpid(), signal.SIGTERM) if number == 5 else None)
    two_models.work()
    assert two_models.queue.job_ids == jobs
    [process] = compiler.processes
    process.join()
    assert process.exitcode == -signal.SIGTERM


def test_the_pace_is_told_with_what_steps_really_take(floor: Floor) -> None:
    worker = floor.worker()
    floor.ask(count=4, steps=10)
    floor.work(worker)
    worker.connection = floor.redis
    worker.beat()
    [pace] = models.paces(floor.redis).values()
    assert pace.batch == 16
    assert pace.drift != 1
    assert 0 < pace.of(4) < 1


def test_a_pace_that_steps_contradict_is_measured_again(floor: Floor) -> None:
    model = floor.catalog.get("tiny")
    assert model is not None
    model.network._pace = Pace(rows=[2], seconds=[5.0], slots=2)  # as beside other work
    job = floor.ask(count=40, steps=5)
    floor.work()
    floor.assert_finished(job)
    assert model.network.pace.batch == 16


def test_the_time_between_jobs_is_not_that_of_a_step(floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = floor.worker()
    settle = worker._settle

    def at_once() -> None:  # so that the worker never waits for a `done` to be written, and has nothing to do
        worker._publisher.flush()
        settle()

    monkeypatch.setattr(worker, "_settle", at_once)
    working = 0.0
    for _ in range(2):
        floor.ask(count=4, steps=10)
        began = time.perf_counter()
        worker.work(burst=True, logging_level="CRITICAL")
        working += time.perf_counter() - began
        time.sleep(1)
    worker.connection.close()
    [drift] = worker._drift.values()
    assert drift.took < 1 + working  # a second is where it begins


# Failed


def test_a_model_that_is_gone_fails_the_job_with_the_reason(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "gone")
    floor = Floor(redis, redis_url, tmp_path)
    job = floor.ask()
    shutil.rmtree(tmp_path / "gone")
    floor.catalog.scan()
    floor.work()
    assert_failed(floor, job, "model gone is not here: ask again")


def test_a_model_that_has_changed_fails_the_job_with_the_reason(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny, tmp_path / "fickle")
    floor = Floor(redis, redis_url, tmp_path)
    old = floor.ask()
    change_weights(tmp_path / "fickle")
    floor.catalog.scan()
    models.publish(redis, "floor", floor.catalog.cards, {}, alive_seconds=600)
    new = floor.ask()
    floor.work()
    assert floor.record(old).status is Status.FAILED
    assert "has changed since the job was accepted" in (floor.record(old).error or "")
    floor.assert_finished(new)


def test_a_model_that_changes_meanwhile_lets_what_has_begun_finish(
    redis: Redis, redis_url: str, tiny: Path, tmp_path: Path, at_step: Callable[..., list[int]]
) -> None:
    shutil.copytree(tiny, tmp_path / "fickle")
    floor = Floor(redis, redis_url, tmp_path)
    before = floor.catalog.get("fickle")
    assert before is not None
    job = floor.ask(count=2, steps=5)

    def change(number: int) -> None:
        if number == 2:
            change_weights(tmp_path / "fickle")
            floor.catalog.scan()

    at_step(change)
    floor.work()
    assert floor.record(job).status is Status.FINISHED
    assert floor.images(job) == drawn(before, floor.record(job))


def assert_failed(floor: Floor, job: str, reason: str) -> None:
    record = floor.record(job)
    assert record.status is Status.FAILED
    assert reason in (record.error or "")
    assert floor.story(job)[-1] == "failed"
    assert floor.in_rq(job) is JobStatus.FAILED
    assert job in floor.queue.failed_job_registry
    floor.assert_nothing_left()


@pytest.mark.usefixtures("poisoned")
def test_a_step_that_fails_fails_the_job_that_was_in_it(floor: Floor) -> None:
    job = floor.ask(seed=POISON)
    floor.work()
    assert_failed(floor, job, "RuntimeError: no memory for this")
    after = floor.ask(count=20)
    floor.work()
    floor.assert_finished(after)
    assert floor.record(job).attempt == 1, "a retry would fail likewise"


@pytest.mark.usefixtures("poisoned")
def test_a_step_that_fails_takes_no_neighbour_with_it(floor: Floor) -> None:
    early, bad, late = (floor.ask(count=3, steps=5, seed=seed) for seed in (1, POISON, 2))
    floor.work()
    assert_failed(floor, bad, "no memory for this")
    floor.assert_finished(early, late)
    for job in (early, late):
        assert floor.record(job).crashes == 0, "no worker has died"
        assert floor.story(job).count("done") == 1
        steps = [frame.step for frame in events.frames(floor.redis, job)]
        assert steps == sorted(set(steps))


# Canceled


def test_a_job_that_is_canceled_while_it_runs_is_let_go(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    job, other = floor.ask(count=4, steps=1000), floor.ask(count=2, steps=30, seed=1)

    def cancel(number: int) -> None:
        if number == 3:
            assert floor.records.cancel(job)
        time.sleep(0.005)

    steps = at_step(cancel)
    floor.work()
    assert len(steps) < 500
    assert floor.record(job).status is Status.CANCELED
    assert floor.images(job) == []
    assert floor.story(job)[-1] == "canceled"
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_finished(other)


def test_a_job_that_is_canceled_while_it_waits_is_not_run(floor: Floor) -> None:
    job, other = floor.ask(), floor.ask(seed=1)
    floor.records.cancel(job)
    floor.work()
    assert floor.story(job) == ["queued", "canceled"]
    assert floor.in_rq(job) is JobStatus.CANCELED
    floor.assert_finished(other)


def test_a_job_that_rq_has_lost_while_it_ran_hurts_nobody(floor: Floor, at_step: Callable[..., list[int]]) -> None:
    job, other = floor.ask(steps=1000), floor.ask(count=2, steps=60, seed=1)

    def remove(number: int) -> None:
        if number == 3:
            floor.redis.delete(Job.key_for(job))
            Janitor(floor.redis, floor.records, keep_seconds=3600, max_bytes=1 << 40).clean()
        time.sleep(0.005)

    at_step(remove)
    floor.work()
    assert floor.record(job).status is Status.FAILED
    assert floor.record(other).status is Status.FINISHED
    assert floor.in_rq(other) is JobStatus.FINISHED
    floor.assert_nothing_left()


# Thought dead


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
    monkeypatch.setattr("worker.batch_worker.SAVE_SECONDS", 0.0)
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
