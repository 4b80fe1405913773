"""The jobs that one worker runs together. Independent of RQ: the caller adds jobs by id, and is told ids that left."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator

import structlog
from safetensors import SafetensorError

from jobs.records import Attempt, Records
from jobs.schema import Status
from jobs.store import RedisStore
from worker.catalog import Catalog, Model
from worker.sampling.active_job import ActiveJob, State
from worker.sampling.arbiter import POLL_SECONDS, Arbiter, StepError
from worker.sampling.chunks import Chunk, remaining
from worker.sampling.engine import Task
from worker.sampling.publish import Publisher

log = structlog.get_logger()

CRASHES_BEFORE_ALONE = 2  # crashed attempts after which a job runs alone
SAVE_SECONDS = 5.0  # seconds between two saves: the maximum work that a killed worker loses
MAX_STATE_BYTES = 32 * 2**20  # maximum saved state per job; larger states are not saved, so the job would start anew
MAX_SAVED_BYTES = 256 * 2**20  # maximum saved state of all jobs of a worker
MAX_ACTIVE_JOBS = 256  # maximum number of jobs in the batch, each of which is polled for cancellation
MAX_WAITING_FOR_NETWORK = 16  # maximum number of jobs held while their network compiles; other workers may run the rest
IDLE_SECONDS = 0.001  # poll interval while the publisher writes the last results


class Batch:
    def __init__(self, records: Records, store: RedisStore, catalog: Catalog) -> None:
        self._records, self._store, self._catalog = records, store, catalog
        self.arbiter = Arbiter(catalog)
        self.publisher = Publisher(records)
        self._jobs: dict[str, ActiveJob] = {}
        self._finished: list[str] = []
        self._last_poll = self._last_save = 0.0

    # Adding jobs

    def has_room(self) -> bool:
        """Whether the first job in the queue may be added. Its model is unknown until then."""
        if len(self._jobs) >= MAX_ACTIVE_JOBS or any(job.excludes_others for job in self._jobs.values()):
            return False
        if len(self._in(State.WAITING_FOR_NETWORK)) >= MAX_WAITING_FOR_NETWORK:
            return False
        if self.arbiter.has_room("batch"):
            return True
        # Interactive jobs are queued before those of the class `batch`.
        return self.arbiter.has_room("interactive") and self._records.interactive_waits()

    def add(self, job_id: str) -> None:
        if not self._jobs:
            self._last_save = time.monotonic()
        self.arbiter.pause()  # the time to take a job does not count as a step's
        if job_id in self._jobs:  # after an outage RQ may have queued it again
            self._remove(self._jobs[job_id])
        record = self._records.get(job_id)
        if record is None or record.status.ended:
            self._finished.append(job_id)
            return
        crashes = record.crashes + (record.status is Status.RUNNING)
        job = self._jobs[job_id] = ActiveJob(record, isolated=crashes >= CRASHES_BEFORE_ALONE)
        if job.state is State.WAITING_FOR_NETWORK:
            self._begin(job)

    # Running jobs

    def advance(self) -> None:
        """One step; before and after it, jobs begin, end, are canceled, and are saved."""
        self.publisher.check()
        self._drop_lost()
        self._begin_waiting()
        self._step()
        self._collect_ended()
        if time.monotonic() - self._last_save > SAVE_SECONDS:
            self._save()

    def _begin_waiting(self) -> None:
        for job in self._in(State.WAITING_FOR_NETWORK):
            self._begin(job)
        alone = self._in(State.WAITING_TO_RUN_ALONE)
        if alone and self.arbiter.idle:
            self._begin(alone[0])

    def _begin(self, job: ActiveJob) -> None:
        """Starts an attempt, unless the job's network is being compiled in a subprocess."""
        model = self._model_of(job)
        if model is not None and not job.isolated and self.arbiter.compiles_in_subprocess(model):
            return
        attempt = self._records.begin(job.id, None if model is None else model.network.build)
        if attempt is None:
            self._drop(job)
            return
        job.start(attempt)
        if model is None:
            served = self._catalog.get(job.spec.model) is not None
            why = "has changed since the job was accepted" if served else "is not here"
            self._fail(job, f"model {job.spec.model} {why}: ask again")
            return
        log.info("job begins", job=job.id, attempt=attempt.number, count=job.spec.count, steps=job.spec.steps)
        if attempt.replaced_build is not None:
            builds = {"build": model.network.build, "replaced_build": attempt.replaced_build}
            log.warning("job starts anew on another build", job=job.id, **builds)
        self._run(job, model)

    def _run(self, job: ActiveJob, model: Model) -> None:
        done = self._store.positions(job.id)
        chunks = remaining(job.spec.count, done, self._saved_chunks(job, model))
        try:
            self.arbiter.prepare(model)
            task = Task.of(job.id, job.spec, model.checkpoint.schedule, model.card.channels, chunks)
        except Exception as error:
            self._fail(job, _reason(error))
            return
        if job.id in self._jobs:  # a signal handler may have put it back while the network was prepared
            job.run(self.arbiter.engine(model), task, len(done), self.publisher)

    def _model_of(self, job: ActiveJob) -> Model | None:
        """The model of the job, if it is served and has not changed since the job was accepted."""
        model = self._catalog.get(job.spec.model)
        return model if model is not None and model.card.digest == job.spec.digest else None

    def _saved_chunks(self, job: ActiveJob, model: Model) -> list[Chunk]:
        try:
            return [Chunk.decode(chunk) for chunk in self._records.saved(job.id, model.network.build)]
        except (SafetensorError, KeyError, ValueError):  # saved by a version with another format
            return []

    def _step(self) -> None:
        if self.arbiter.idle:
            compiling = all(job.state is State.WAITING_FOR_NETWORK for job in self._jobs.values())
            time.sleep(POLL_SECONDS if compiling else IDLE_SECONDS)
            self.arbiter.pause()
            return
        try:
            steps = self.arbiter.step()
        except StepError as error:
            self._after_step_error(error)
            return
        for step in steps:
            self._jobs[step.task.key].advance(step, self.publisher)
        self.arbiter.charge(steps)

    def _after_step_error(self, error: StepError) -> None:
        """Fails the only job of the engine. If there are several, each runs again alone, to find the cause."""
        jobs = [job for job in self._in(State.RUNNING) if job.engine is error.engine]
        text = "".join(traceback.format_exception(error.__cause__))
        log.error("step failed", jobs=[job.id for job in jobs], error=text)
        if len(jobs) == 1:
            self._fail(jobs[0], text.strip().splitlines()[-1])
            return
        for job in jobs:
            assert job.attempt is not None
            if self._records.put_back(job.attempt):
                job.isolate()
            else:
                self._drop(job)

    def _save(self) -> None:
        """Saves the state of all running jobs, the smallest first, up to MAX_STATE_BYTES and MAX_SAVED_BYTES."""
        self._last_save = time.monotonic()
        states = [(job, job.chunks()) for job in self._in(State.RUNNING)]
        sizes = {job.id: sum(chunk.nbytes for chunk in chunks) for job, chunks in states}
        total = 0
        for job, chunks in sorted(states, key=lambda state: sizes[state[0].id]):
            assert job.attempt is not None
            assert job.engine is not None
            total += sizes[job.id]
            fits = sizes[job.id] <= MAX_STATE_BYTES and total <= MAX_SAVED_BYTES
            self.publisher.state(job.attempt, job.engine.network.build, chunks if fits else [])

    # Removing jobs

    def pop_finished(self) -> Iterator[str]:
        """Ids of jobs that have ended, or that another attempt has taken over, each once."""
        while self._finished:
            yield self._finished.pop(0)

    def flush(self) -> None:
        """Writes everything that has been computed. Called before all jobs are put back."""
        self.arbiter.stop()
        self._save()
        self.publisher.flush()
        self._collect_ended()

    def put_back(self, job_id: str, error: Exception | None = None) -> bool:
        """Marks the job as queued again. Returns False if it has ended or another attempt holds it.

        error  of this worker, which the job may have caused; a job that ran alone fails with it instead
        """
        job = self._jobs[job_id]
        self._remove(job)
        if job.attempt is None:
            return True
        if error is not None and job.isolated:
            self._records.fail(job.id, _reason(error), job.attempt)
            return False
        return self._records.put_back(job.attempt, crashed=error is not None)

    def _collect_ended(self) -> None:
        while not self.publisher.ended.empty():
            self._drop_attempt(self.publisher.ended.get())

    def _drop_lost(self) -> None:
        """Drops jobs that were canceled, or that another attempt has taken over."""
        while not self.publisher.lost.empty():
            self._drop_attempt(self.publisher.lost.get())
        if time.monotonic() - self._last_poll > POLL_SECONDS:
            self._last_poll = time.monotonic()
            attempts = [job.attempt for job in self._jobs.values() if job.attempt is not None]
            for attempt in self._records.lost(attempts):
                self._drop_attempt(attempt)

    def _drop_attempt(self, attempt: Attempt) -> None:
        job = self._jobs.get(attempt.job_id)
        if job is not None and job.attempt == attempt:
            self._drop(job)

    def _fail(self, job: ActiveJob, reason: str) -> None:
        self._records.fail(job.id, reason, job.attempt)
        self._drop(job)
        log.error("job failed", job=job.id, reason=reason)

    def _drop(self, job: ActiveJob) -> None:
        if self._remove(job):
            self._finished.append(job.id)

    def _remove(self, job: ActiveJob) -> bool:
        """Returns False if the job had been removed already."""
        job.leave_engine()
        return self._jobs.pop(job.id, None) is not None

    def _in(self, state: State) -> list[ActiveJob]:
        return [job for job in self._jobs.values() if job.state is state]


def _reason(error: BaseException) -> str:
    return traceback.format_exception_only(error)[0].splitlines()[0]
