"""Forecasts when jobs will be done, by a simulation of the worker's scheduler at the measured pace.

The cost is bounded. The simulation advances in quanta that grow with the simulated time, so their number is logarithmic
in that time. Once its budget is spent, the estimate is the remaining work over the rate of full batches.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cached_property

from redis import Redis

from jobs import models
from jobs.pace import Pace
from jobs.records import Record, Records
from jobs.scheduler import Job, Scheduler, Span
from jobs.schema import Status
from jobs.work import Ahead, Work

PRECISION = 16  # a quantum is at most the simulated time divided by this
BUDGET = 2000  # maximum number of waves visited: a few milliseconds
UNKNOWN_START_SECONDS = 30.0  # assumed time until a waiting job begins if no pace is known: about one compilation


class Forecast:
    """Seconds until jobs are done.

    running  works that have begun, oldest first
    waiting  works at the front of the queue, in order
    ahead    by id of a queued job: all work that waits before it, including work behind `waiting`
    wanted   ids of jobs to forecast; all by default
    """

    def __init__(
        self,
        running: Sequence[Work],
        waiting: Sequence[Work],
        paces: Mapping[str, Pace],
        workers: int,
        *,
        ahead: Mapping[str, Ahead] | None = None,
        wanted: set[str] | None = None,
    ) -> None:
        self._running, self._waiting, self._paces = running, waiting, paces
        self._workers = max(1, workers)
        self._ahead = ahead or {}
        self._wanted = {work.job_id for work in [*running, *waiting]} if wanted is None else wanted

    @classmethod
    def now(cls, redis: Redis, records: Records, shown: Sequence[Record] = ()) -> Forecast:
        """A forecast for these records, or for all jobs by default. A record may be one that is not queued yet."""
        queued = [record for record in shown if record.status is Status.QUEUED]
        first, ahead = records.backlog([record.order for record in queued])
        places = {record.id: place for record, place in zip(queued, ahead, strict=True)}
        running = {work.job_id: work for work in records.running()}
        running |= {record.id: record.work for record in shown if record.status is Status.RUNNING}
        known = running.keys() | {work.job_id for work in first}
        for record in queued:
            if record.id not in known and places[record.id].jobs <= len(first):
                first.insert(places[record.id].jobs, record.work)
        waiting = [work for work in first if work.job_id not in running]
        wanted = {record.id for record in shown if not record.status.ended} or None
        paces, workers = models.paces(redis), models.live_workers(redis)
        return cls(list(running.values()), waiting, paces, workers, ahead=places, wanted=wanted)

    def position(self, job_id: str) -> int | None:
        """Number of jobs that wait before a queued one."""
        return self._ahead[job_id].jobs if job_id in self._ahead else None

    def seconds(self, work: Work) -> float | None:
        """Time until the job is done; None if its model's pace, or that of a model before it, was never measured."""
        ahead = self._ahead.get(work.job_id, Ahead(0, {}))
        if not {work.model, *ahead.row_steps} <= self._paces.keys() or self._simulation is None:
            return None
        return round(self._simulation.end(work, ahead), 1)

    def start_seconds(self) -> float:
        """Time until the next waiting job begins, which frees its place in the queue."""
        if self._simulation is None:
            return UNKNOWN_START_SECONDS
        later = [seconds for seconds in self._simulation.begun if seconds > 0]
        return later[0] if later else self._simulation.mean_seconds

    @cached_property
    def _simulation(self) -> _Simulation | None:
        """None if a pace is unknown."""
        if not {work.model for work in [*self._running, *self._waiting]} <= self._paces.keys():
            return None
        simulation = _Simulation(self._running, self._waiting, self._paces, self._workers)
        simulation.run(self._wanted)
        return simulation


class _Worker:
    """One simulated worker: a scheduler per model, which share its time evenly."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.schedulers: dict[str, Scheduler] = {}
        self._spent: dict[str, float] = {}  # seconds charged to each model
        self._last: dict[str, float] = {}  # seconds of each model's last quantum

    @property
    def idle(self) -> bool:
        return all(scheduler.idle for scheduler in self.schedulers.values())

    @property
    def jobs(self) -> int:
        return sum(len(scheduler.keys) for scheduler in self.schedulers.values())

    def has_room(self, work: Work) -> bool:
        return all(scheduler.has_room(work.priority) for scheduler in self.schedulers.values())

    def begin(self, work: Work, pace: Pace) -> Scheduler:
        if work.model not in self.schedulers:
            self.seconds += pace.ready_seconds
            self.schedulers[work.model] = Scheduler(pace)
        if self.schedulers[work.model].idle:
            busy = [self._spent[model] for model, scheduler in self.schedulers.items() if not scheduler.idle]
            self._spent[work.model] = min(busy, default=0.0)
        self.schedulers[work.model].add(_job(work, pace))
        return self.schedulers[work.model]

    def step(self) -> dict[str, float]:
        """One quantum of the model with the least time charged. Returns the end of each job that ended in it."""
        busy = [model for model, scheduler in self.schedulers.items() if not scheduler.idle]
        model = min(busy, key=self._spent.__getitem__)
        scheduler = self.schedulers[model]
        decision = scheduler.decide(self._last.get(model, 0.0))
        quantum = self.seconds / PRECISION
        waves = sorted(decision.moving, key=lambda wave: wave.steps_left)
        rows = sum(wave.evaluations for wave in waves)
        steps = max(1, min(int(quantum / scheduler.pace.of(rows)), waves[-1].steps_left))
        seconds, done, ends = 0.0, 0, dict[str, float]()
        for wave in waves:  # in the order in which they end; after each, the remaining steps have fewer rows
            until = min(steps, wave.steps_left)
            if until > done:
                seconds, done = seconds + (until - done) * scheduler.pace.of(rows), until
            rows -= wave.evaluations
            if wave.steps_left <= steps:
                ends[wave.job.key] = self.seconds + seconds
        scheduler.advance(steps)
        self.seconds += seconds
        self._spent[model] += seconds
        self._last[model] = seconds
        remaining = scheduler.keys
        return {key: end for key, end in ends.items() if key not in remaining}


class _Simulation:
    """All workers, simulated from now on."""

    def __init__(
        self, running: Sequence[Work], waiting: Sequence[Work], paces: Mapping[str, Pace], workers: int
    ) -> None:
        self._paces = paces
        self._workers = [_Worker() for _ in range(workers)]
        self._begun_row_steps = dict.fromkeys(paces, 0.0)  # of waiting jobs that have begun in the simulation, by model
        # A job whose images are all done only waits for its `done` to be written; the scheduler has nothing to move.
        self._ends = {work.job_id: 0.0 for work in [*running, *waiting] if work.images_done >= work.images}
        running = [work for work in running if work.job_id not in self._ends]
        self._waiting = deque(work for work in waiting if work.job_id not in self._ends)
        self.begun: list[float] = []  # times at which waiting jobs begin
        works = [*running, *waiting]
        total = sum(self._seconds_at_full_rate(work.model, work.row_steps_left) for work in works)
        self.mean_seconds = total / workers / max(1, len(works))  # mean time between the ends of two jobs
        for work in running:
            worker = min(self._workers, key=lambda worker: worker.jobs)
            worker.begin(work, paces[work.model]).admit()  # one by one, in the order in which they entered

    def run(self, wanted: set[str]) -> None:
        """Runs until all wanted jobs have ended or the budget is spent."""
        budget = BUDGET
        while budget > 0 and not wanted <= self._ends.keys():
            self._begin_waiting()
            busy = [worker for worker in self._workers if not worker.idle]
            if not busy:
                return
            worker = min(busy, key=lambda worker: worker.seconds)
            self._ends |= worker.step()
            budget -= 2 + sum(len(scheduler.waves) for scheduler in worker.schedulers.values())

    def end(self, work: Work, ahead: Ahead) -> float:
        """The end of a job: as simulated, or estimated from the work before it and the rate of full batches."""
        if work.job_id in self._ends:
            return self._ends[work.job_id]
        running = self._remaining_seconds()
        if work.job_id in running:  # at equal shares, each other job has done as much work when this one ends
            own = running[work.job_id]
            return self._now + sum(min(own, other) for other in running.values()) / len(self._workers)
        before = sum(
            self._seconds_at_full_rate(model, row_steps - self._begun_row_steps[model])
            for model, row_steps in ahead.row_steps.items()
        )
        pace = self._paces[work.model]
        return self._now + (sum(running.values()) + before) / len(self._workers) + _seconds_alone(work, pace)

    @property
    def _now(self) -> float:
        busy = [worker for worker in self._workers if not worker.idle]
        return min(worker.seconds for worker in busy or self._workers)

    def _begin_waiting(self) -> None:
        """Waiting jobs begin while a worker has room for the first of them."""
        while self._waiting:
            free = [worker for worker in self._workers if worker.has_room(self._waiting[0])]
            if not free:
                return
            work = self._waiting.popleft()
            worker = min(free, key=lambda worker: (worker.seconds, worker.jobs))
            self.begun.append(worker.seconds)
            self._begun_row_steps[work.model] += work.row_steps
            worker.begin(work, self._paces[work.model])

    def _remaining_seconds(self) -> dict[str, float]:
        """Remaining work of each running job, in seconds."""
        return {
            key: self._seconds_at_full_rate(model, row_steps)
            for worker in self._workers
            for model, scheduler in worker.schedulers.items()
            for key, row_steps in scheduler.row_steps_left().items()
        }

    def _seconds_at_full_rate(self, model: str, row_steps: float) -> float:
        """Time for this much work in full batches."""
        pace = self._paces[model]
        return max(0.0, row_steps) * pace.of(pace.batch) / pace.batch


def _job(work: Work, pace: Pace) -> Job:
    """The scheduler's job, reconstructed from a record. Its images in progress are assumed to be at the same row."""
    remaining = work.images - work.images_done
    count = min(remaining, pace.slots)
    begun = work.steps_done - work.images_done * work.steps
    row = min(work.steps - 1, begun // count) if count > 0 else 0
    if row and begun - row * count:  # there are several waves: as many images as could have reached this row
        count = max(1, min(remaining, round(begun / row)))
    first = work.images_done
    spans = [Span(first, count, row), Span(first + count, remaining - count)]
    return Job(work.job_id, work.priority, work.steps, deque(span for span in spans if span.count), work.evaluations)


def _seconds_alone(work: Work, pace: Pace) -> float:
    """Time of a job that runs alone."""
    images = work.images - work.images_done
    return math.ceil(images / pace.slots) * work.steps * pace.of(min(images, pace.slots) * work.evaluations)
