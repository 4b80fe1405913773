"""How jobs get in and out: one subclass of RQ's SimpleWorker, and nothing else touches RQ's inside.

RQ hands over one job and waits for it; meanwhile this worker takes every further job that has room in the batch,
and returns when the batch is empty. RQ's own loop keeps signals, bursts and suspension.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import defaultdict, deque
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess

import structlog
from redis import Redis
from rq import Queue, SimpleWorker
from rq.exceptions import InvalidJobOperation
from rq.executions import Execution
from rq.job import Job
from rq.utils import now
from rq.worker import WorkerStatus
from safetensors import SafetensorError

from jobs import keys
from jobs.records import Attempt, Record, Records
from jobs.schema import Done, Status
from jobs.store import RedisStore
from model.cores import Cores
from worker.catalog import Catalog, Model
from worker.engine import Engine, Step, Task
from worker.pacing import Drift
from worker.parts import Part, left
from worker.publish import Publisher, shown_rows

log = structlog.get_logger()

HEARTBEAT_SECONDS = 2.0
# An execution without a heartbeat for this long is another worker's to retry; RQ's default is minutes.
EXECUTION_TTL_SECONDS = 8
MAINTENANCE_SECONDS = 2
WORKER_TTL_SECONDS = 17  # RQ blocks for 15 s less
CRASHES_BEFORE_ALONE = 2
PROGRESS_SECONDS = 0.5
IDLE_SECONDS = 0.001
ALONE_SECONDS = 60.0  # without a crash, after which a job that may have caused some has neighbours again
SAVE_SECONDS = 5.0  # how much work a killed worker may lose
MAX_STATE_BYTES = 32 * 2**20  # of a job; more would drive finished results out of Redis, so that is begun again
MOST_HELD = 256  # jobs: each is looked at for a cancellation
WATCH_SECONDS = 0.1  # how often is looked at what others change: jobs that are canceled, networks that are compiled


def generate(spec: str) -> None:
    """What RQ's queue names as each job's function. A BatchWorker runs the job without calling it."""
    raise RuntimeError("this job needs a Noisemill worker: start one with `noisemill worker`")


@dataclass(slots=True, eq=False)
class Held:
    """A job that this worker holds."""

    job: Job
    execution: Execution
    record: Record
    alone: bool = False  # it may have no neighbours
    attempt: Attempt | None = None  # none while it waits to run alone, or for its network
    engine: Engine | None = None
    shown: frozenset[int] = frozenset()
    began: float = 0.0  # when its attempt did
    steps_done: int = 0
    images_done: int = 0
    told: float = 0.0  # when progress was last written

    @property
    def waits_for_network(self) -> bool:
        return self.attempt is None and not self.alone

    @property
    def wants_no_neighbour(self) -> bool:
        return self.alone and (self.attempt is None or time.monotonic() - self.began < ALONE_SECONDS)

    @property
    def complete(self) -> bool:
        """Whether all that is left is that its `done` be written."""
        return self.images_done == self.record.spec.count


class BatchWorker(SimpleWorker):
    """Runs every job of one queue through a shared batch."""

    def __init__(self, connection: Redis, catalog: Catalog, *, name: str) -> None:
        super().__init__(
            [Queue(keys.QUEUE, connection=connection)],
            name=name,
            connection=connection,
            maintenance_interval=MAINTENANCE_SECONDS,
            worker_ttl=WORKER_TTL_SECONDS,
        )
        self._catalog = catalog
        self._records, self._store = Records(connection), RedisStore(connection)
        self._publisher = Publisher(self._records)
        self._engines: dict[str, Engine] = {}  # by digest: a model replaced on disk finishes what it has begun
        self._spent: dict[str, float] = {}  # seconds that each engine has been given
        self._took: dict[str, float] = {}  # seconds of each engine's last step
        self._held: dict[str, Held] = {}
        self._held_lock = threading.Lock()  # the heartbeat reads what the main thread changes
        self._alone: deque[Held] = deque()  # jobs that wait to run with no neighbour
        self._compiling: dict[str, SpawnProcess] = {}  # what compiles a network, by digest
        self._cores = Cores()
        self._looked = 0.0
        self._saved = 0.0
        self._drift: defaultdict[str, Drift] = defaultdict(Drift)  # by model
        self._stepped: float | None = None  # when the last step ended, unless nothing was to be done since

    def make_ready(self) -> None:
        """Makes models ready in turn, while nobody waits. One of several compiles apart: a job may ask for another."""
        cards = self._catalog.cards
        for card in cards:
            model = self._catalog.get(card.name)
            if model is None:
                continue
            if len(cards) > 1 and model.network.is_new and not self._awaited():
                self._compiling[card.digest] = compiler = self._catalog.compile_apart(card.name)
                while compiler.is_alive() and not self._awaited():
                    compiler.join(WATCH_SECONDS)
            if self._awaited():
                return
            model.network.warm()

    def _awaited(self) -> bool:
        return bool(self.connection.zcard(keys.ACTIVE))

    # RQ calls these

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs this job and all that arrive meanwhile; returns when none is held."""
        self._saved, self._stepped = time.monotonic(), None
        self._take(job)
        while self._held:
            self._publisher.check()
            if self._stop_requested:
                self._put_back_all()
                break
            self._take_more()
            self._drop_lost()
            self._begin_alone()
            self._begin_compiled()
            self._step()
            self._settle()
            if time.monotonic() - self._saved > SAVE_SECONDS:
                self._save()
            if self.should_run_maintenance_tasks:
                self.beat()  # first, lest after an outage our own jobs look abandoned
                self.run_maintenance_tasks()
        self.set_state(WorkerStatus.IDLE)

    def get_heartbeat_ttl(self, job: Job) -> int:
        return EXECUTION_TTL_SECONDS

    def run_maintenance_tasks(self) -> None:
        # RQ's lock lasts 15 minutes if its holder is killed, and nothing would be retried meanwhile.
        for queue in self.queues:
            if self.connection.ttl(queue.registry_cleaning_key) > EXECUTION_TTL_SECONDS:
                self.connection.expire(queue.registry_cleaning_key, EXECUTION_TTL_SECONDS)
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]

    def beat(self) -> None:
        """Says that this worker and all that it holds are alive. Called from the heartbeat's thread too."""
        if self.birth_date is None:  # before RQ has registered us there is nothing to keep alive
            return
        with self._held_lock:
            held = list(self._held.values())
        with self.connection.pipeline() as pipeline:
            self.heartbeat(EXECUTION_TTL_SECONDS + 60, pipeline=pipeline)
            for each in held:
                each.execution.heartbeat(each.job.started_job_registry, EXECUTION_TTL_SECONDS, pipeline=pipeline)
            if paces := self._paces():
                pipeline.hset(keys.PACES, mapping=paces)
            pipeline.execute()

    # Jobs in

    def _take_more(self) -> None:
        """Takes waiting jobs while there is room, unless one is to run alone."""
        while self._has_room():
            found = Queue.dequeue_any(self.queues, None, connection=self.connection)
            if found is None:
                return
            self._take(found[0])

    def _has_room(self) -> bool:
        """For the job that waits first, of whatever model."""
        if len(self._held) >= MOST_HELD or any(held.wants_no_neighbour for held in self._held.values()):
            return False
        engines = self._engines.values()
        if all(engine.has_room("batch") for engine in engines):
            return True
        # Interactive jobs wait before those of the class `batch`.
        return all(engine.has_room("interactive") for engine in engines) and self._records.interactive_waits()

    def _take(self, job: Job) -> None:
        self._stepped = None  # taking a job is no part of a step
        self.prepare_execution(job)
        self.prepare_job_execution(job, remove_from_intermediate_queue=True)
        job.started_at = now()
        execution, record = self.execution, self._records.get(job.id)
        assert execution is not None
        if job.id in self._held:  # after an outage RQ may have thought it abandoned
            self._forget(self._held[job.id])
        if record is None or record.status.ended:
            self._leave(job, execution)
            return
        crashes = record.crashes + (record.status is Status.RUNNING)
        held = Held(job, execution, record, alone=crashes >= CRASHES_BEFORE_ALONE)
        with self._held_lock:
            self._held[job.id] = held
        if held.alone:
            self._alone.append(held)
        else:
            self._begin(held)

    def _begin_alone(self) -> None:
        """Starts the next job that must have no neighbours, once there are none."""
        if self._alone and all(engine.idle for engine in self._engines.values()):
            self._begin(self._alone.popleft())

    def _begin_compiled(self) -> None:
        """Starts jobs whose network has been compiled meanwhile."""
        for held in [held for held in self._held.values() if held.waits_for_network]:
            self._begin(held)

    def _is_compiled_apart(self, held: Held) -> bool:
        """Whether a job's network is being compiled: apart, where jobs of other models would wait for it."""
        model = self._catalog.get(held.record.spec.model)
        if model is None or held.alone:
            return False
        digest = model.card.digest
        if digest not in self._compiling:
            if all(engine.idle for engine in self._engines.values()) or not model.network.is_new:
                return False
            self._compiling[digest] = self._catalog.compile_apart(model.card.name)
        return self._compiling[digest].is_alive()

    def _begin(self, held: Held) -> None:
        """Puts a job's images before the engine of its model, or waits for that model's network."""
        if self._is_compiled_apart(held):
            return
        held.attempt = self._records.begin(held.job.id)
        if held.attempt is None:
            self._forget(held)
            self._leave(held.job, held.execution)
            return
        held.began = time.monotonic()
        spec = held.record.spec
        model = self._catalog.get(spec.model)
        if model is None or model.card.digest != spec.digest:
            now_there = "is not here" if model is None else "has changed since the job was accepted"
            self._fail(held, f"model {spec.model} {now_there}: ask again")
            return
        log.info("job begins", job=held.job.id, attempt=held.attempt.number, count=spec.count, steps=spec.steps)
        done, kept = self._store.positions(held.job.id), self._kept(held, model)
        parts = left(spec.count, done, kept)
        try:
            model.network.warm()
            task = Task.of(held.job.id, spec, model.checkpoint.schedule, model.card.channels, parts)
        except Exception as error:
            self._fail(held, traceback.format_exception_only(error)[0].splitlines()[0])
            return
        if spec.digest not in self._engines:
            self._spent[spec.digest] = min((self._spent[digest] for digest in self._engines), default=0.0)
            self._engines[spec.digest] = Engine(model.network, model.shape)
        held.engine = self._engines[spec.digest]
        held.shown = shown_rows(spec.steps, spec.frames)
        held.images_done = len(done)
        held.steps_done = spec.count * spec.steps - sum(part.count * (spec.steps - part.row) for part in parts)
        if parts:
            held.engine.add(task)
        else:  # all was done, but for saying so
            self._finish(held)

    def _kept(self, held: Held, model: Model) -> list[Part]:
        """What an earlier attempt has begun; nothing where another version has kept it otherwise."""
        try:
            return [Part.decode(part) for part in self._records.saved(held.job.id, model.network.build)]
        except (SafetensorError, KeyError, ValueError):
            return []

    # One step, and what it made

    def _step(self) -> None:
        """One step of the model that has had the least time: models share the machine as jobs do."""
        busy = {digest: engine for digest, engine in self._engines.items() if not engine.idle}
        if not busy:
            compiling = all(held.waits_for_network for held in self._held.values())
            time.sleep(WATCH_SECONDS if compiling else IDLE_SECONDS)  # else all that is left is being written
            self._stepped = None
            return
        self._engines = busy
        digest = min(busy, key=self._spent.__getitem__)
        engine = busy[digest]
        began = self._stepped or time.perf_counter()  # what happens between two steps costs time too
        try:
            steps = engine.step(self._took.get(digest))
        except Exception:
            self._after_error(engine, traceback.format_exc())
            return
        for step in steps:
            self._hand_over(step)
        self._cores.adapt()
        self._stepped = time.perf_counter()
        seconds = self._stepped - began
        self._spent[digest] += seconds
        if engine.network.device.type != "cuda":  # where a step has only been asked for when the next one begins
            self._took[digest] = seconds
        self._compare(engine, steps, seconds)

    def _hand_over(self, step: Step) -> None:
        held = self._held[step.task.key]
        attempt, spec = held.attempt, held.record.spec
        assert attempt is not None
        held.steps_done += len(step.x0)
        if step.row in held.shown:
            self._publisher.frame(attempt, step)
        if step.last:
            self._publisher.images(attempt, spec, step)
            held.images_done += len(step.x0)
        if step.last or time.monotonic() - held.told > PROGRESS_SECONDS:
            self._publisher.progress(attempt, held.steps_done)
            held.told = time.monotonic()
        if held.complete:
            self._finish(held)

    def _finish(self, held: Held) -> None:
        assert held.attempt is not None
        self._publisher.progress(held.attempt, held.steps_done)
        done = Done(images=held.record.spec.count, seconds=time.monotonic() - held.began)
        self._publisher.finish(held.attempt, done)

    def _save(self) -> None:
        """Keeps what every job has begun."""
        self._saved = time.monotonic()
        for held in self._held.values():
            if held.engine is not None and held.attempt is not None and not held.complete:
                parts = held.engine.parts(held.job.id)
                if sum(part.nbytes for part in parts) <= MAX_STATE_BYTES:
                    self._publisher.state(held.attempt, held.engine.network.build, parts)

    def _compare(self, engine: Engine, steps: list[Step], seconds: float) -> None:
        """Keeps how long steps take, and should; what they contradict is measured again."""
        if not steps:
            return
        model = self._held[steps[0].task.key].record.spec.model
        drift = self._drift[model]
        drift.add(seconds, engine.network.pace.of(sum(step.evaluations for step in steps)))
        if drift.contradicts_pace:  # which was measured beside other work
            engine.network.measure()
            del self._drift[model]
            self._stepped = None

    def _paces(self) -> dict[str, str]:
        """Of every model that has been measured, as JSON."""
        found = {}
        for card in self._catalog.cards:
            model = self._catalog.get(card.name)
            if model is not None and model.network.is_warm:
                drift = self._drift[card.name].ratio
                found[card.name] = model.network.pace.model_copy(update={"drift": drift}).model_dump_json()
        return found

    def _after_error(self, engine: Engine, text: str) -> None:
        """A step failed: the job that was alone in it fails; several run again, each alone, to find which it was."""
        inside = [held for held in self._held.values() if held.engine is engine and not held.complete]
        for held in inside:
            engine.remove(held.job.id)
            held.engine = None
        if len(inside) == 1:
            self._fail(inside[0], text.strip().splitlines()[-1])
        else:
            for held in inside:
                assert held.attempt is not None
                self._records.put_back(held.attempt)  # no worker died
                held.attempt, held.alone = None, True
            self._alone.extend(inside)
        log.error("step failed", jobs=[held.job.id for held in inside], error=text)

    # Jobs out

    def _settle(self) -> None:
        """Tells RQ of the jobs whose `done` has been written."""
        while not self._publisher.ended.empty():
            held = self._current(self._publisher.ended.get())
            if held is not None:
                self._forget(held)
                self._leave(held.job, held.execution)

    def _drop_lost(self) -> None:
        """Lets go of jobs that were canceled, or that another attempt has taken."""
        lost = set()
        while not self._publisher.lost.empty():
            lost.add(self._publisher.lost.get())
        if time.monotonic() - self._looked > WATCH_SECONDS:
            self._looked = time.monotonic()
            attempts = [held.attempt for held in self._held.values() if held.attempt is not None]
            lost.update(self._records.lost(attempts))
        for attempt in lost:
            held = self._current(attempt)
            if held is not None:
                self._forget(held)
                self._leave(held.job, held.execution)

    def _fail(self, held: Held, reason: str) -> None:
        self._records.fail(held.job.id, reason, held.attempt)
        self._forget(held)
        self._leave(held.job, held.execution)
        log.error("job failed", job=held.job.id, reason=reason)

    def _leave(self, job: Job, execution: Execution) -> None:
        """Lets go of a job. RQ is told how it ended; where it has not, another attempt holds it."""
        record = self._records.get(job.id)
        job.ended_at, self.execution = now(), execution
        if record is not None and record.status is Status.FINISHED:
            self.handle_job_success(job, self.queues[0], job.started_job_registry)
        elif record is not None and record.status is Status.FAILED:
            job.retries_left = 0
            self.handle_job_failure(job, self.queues[0], exc_string=record.error or "")
        else:
            with self.connection.pipeline() as pipeline:
                execution.delete(job=job, pipeline=pipeline)
                pipeline.execute()
            if record is None or record.status is Status.CANCELED:
                self._cancel(job)

    def _cancel(self, job: Job) -> None:
        # RQ would look up every execution that the job has had, and stumble over that of a worker that died.
        self.connection.delete(job.execution_registry.key)
        with suppress(InvalidJobOperation):  # canceled there already, or removed
            job.cancel()

    def _put_back_all(self) -> None:
        """The worker was asked to stop: every job waits again, at the front, and no retry is spent."""
        for process in self._compiling.values():
            process.terminate()
        self._save()
        self._publisher.flush()
        self._settle()  # what was done by now stays done
        for held in reversed(list(self._held.values())):
            self._forget(held)
            if held.attempt is None or self._records.put_back(held.attempt):
                with self.connection.pipeline() as pipeline:
                    # In this order: RQ turns the pipeline into a transaction, which must be empty for that.
                    self.queues[0].enqueue_job(held.job, pipeline=pipeline, at_front=True)
                    held.execution.delete(job=held.job, pipeline=pipeline)
                    pipeline.execute()
                log.info("job put back", job=held.job.id)
            else:
                self._leave(held.job, held.execution)

    def _current(self, attempt: Attempt) -> Held | None:
        held = self._held.get(attempt.job_id)
        return held if held is not None and held.attempt == attempt else None

    def _forget(self, held: Held) -> None:
        if held.engine is not None:
            held.engine.remove(held.job.id)
        if held in self._alone:
            self._alone.remove(held)
        with self._held_lock:
            self._held.pop(held.job.id, None)
