"""A job that this worker has taken from the queue, until the worker releases it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import Enum, auto

from jobs.records import Attempt, Record
from jobs.schema import Done, JobSpec
from worker.sampling.chunks import Chunk
from worker.sampling.engine import Engine, Step, Task
from worker.sampling.publish import Publisher, shown_rows

PROGRESS_SECONDS = 0.5  # seconds between two reports of progress
ALONE_SECONDS = 60.0  # time for which a job that may have crashed workers runs alone; then others may join


class State(Enum):
    WAITING_FOR_NETWORK = auto()  # a subprocess compiles its network; the record says `queued`
    WAITING_TO_RUN_ALONE = auto()  # until all others have left; the record says `queued`, or `running` after a crash
    RUNNING = auto()  # the engine holds its images
    ENDING = auto()  # all its images are computed; the publisher is writing them and `done`


@dataclass(slots=True, eq=False)
class ActiveJob:
    record: Record
    isolated: bool  # runs alone, since it may have crashed workers
    state: State = field(init=False)
    attempt: Attempt | None = None  # set by `start`
    engine: Engine | None = None  # set by `run`
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

        done  number of images that earlier attempts have finished
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
        """Publishes the results of one step of some of its images."""
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
        """Its unfinished images, for an engine to resume."""
        return self.engine.chunks(self.id) if self.engine is not None and self.state is State.RUNNING else []

    def isolate(self) -> None:
        """Takes it out of the engine; it starts anew once all other jobs have left."""
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
