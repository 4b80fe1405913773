"""A job that this worker has taken from the queue, from then until it leaves the worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum, auto

from jobs.records import Attempt, Record
from jobs.schema import Done, JobSpec
from worker.sampling.chunks import Chunk
from worker.sampling.engine import Engine, Step, Task
from worker.sampling.publish import Publisher, shown_rows

PROGRESS_SECONDS = 0.5  # between two reports of progress
ALONE_SECONDS = 60.0  # that a job which may have crashed workers runs alone, before others join it


class State(Enum):
    WAITING_FOR_NETWORK = auto()  # its network is compiled in a subprocess; the record says `queued`
    WAITING_TO_RUN_ALONE = auto()  # for all other jobs to leave; the record says `queued`, or `running` after a crash
    RUNNING = auto()  # the engine has its images
    ENDING = auto()  # all its images are computed; they and `done` are being written


@dataclass(slots=True, eq=False)
class ActiveJob:
    record: Record
    isolated: bool  # it may have crashed workers, so it runs alone
    state: State = field(init=False)
    attempt: Attempt | None = None  # from `start` on
    engine: Engine | None = None  # from `run` on
    steps_done: int = 0
    images_done: int = 0
    _shown: frozenset[int] = frozenset()
    _started: float = 0.0
    _last_report: float = 0.0

    def __post_init__(self) -> None:
        self.state = State.WAITING_TO_RUN_ALONE if self.isolated else State.WAITING_FOR_NETWORK

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def spec(self) -> JobSpec:
        return self.record.spec

    @property
    def excludes_others(self) -> bool:
        if not self.isolated:
            return False
        return self.state is State.WAITING_TO_RUN_ALONE or time.monotonic() - self._started < ALONE_SECONDS

    def start(self, attempt: Attempt) -> None:
        self.attempt, self._started = attempt, time.monotonic()

    def run(self, engine: Engine, task: Task, done: int, publisher: Publisher) -> None:
        """Gives the task to the engine.

        done  images that earlier attempts have finished
        """
        steps = self.spec.steps
        self.state, self.engine = State.RUNNING, engine
        self._shown = shown_rows(steps, self.spec.frames)
        self.images_done = done
        self.steps_done = self.spec.count * steps - sum(chunk.count * (steps - chunk.row) for chunk in task.chunks)
        if task.chunks:
            engine.add(task)
        else:
            self._finish(publisher)

    def advance(self, step: Step, publisher: Publisher) -> None:
        """Publishes what a step of some of its images has made."""
        assert self.attempt is not None
        assert self.engine is not None
        self.steps_done += len(step.x0)
        if step.row in self._shown:
            publisher.frame(self.attempt, step)
        if step.last:
            publisher.images(self.attempt, self.spec, self.engine.network.build, step)
            self.images_done += len(step.x0)
        if step.last or time.monotonic() - self._last_report > PROGRESS_SECONDS:
            publisher.progress(self.attempt, self.steps_done)
            self._last_report = time.monotonic()
        if self.images_done == self.spec.count:
            self._finish(publisher)

    def chunks(self) -> list[Chunk]:
        """Its unfinished images, as an engine can resume them."""
        return self.engine.chunks(self.id) if self.engine is not None and self.state is State.RUNNING else []

    def isolate(self) -> None:
        """Takes it out of the engine, to start anew once it is alone."""
        self.leave_engine()
        self.isolated, self.attempt, self.state = True, None, State.WAITING_TO_RUN_ALONE

    def leave_engine(self) -> None:
        if self.engine is not None:
            self.engine.remove(self.id)
            self.engine = None

    def _finish(self, publisher: Publisher) -> None:
        assert self.attempt is not None
        self.state = State.ENDING
        publisher.progress(self.attempt, self.steps_done)
        publisher.finish(self.attempt, Done(images=self.spec.count, seconds=time.monotonic() - self._started))
