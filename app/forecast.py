"""When jobs will be done: the worker's own scheduler is simulated at the pace that was measured.

Cost is bounded. The simulation runs in quanta that grow with the simulated time, so that its length is logarithmic in
what it simulates; when its budget is spent, the remaining work over the rate of full batches is the estimate.
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

PRECISION = 16  # a quantum lasts at most this part of the simulated time
BUDGET = 2000  # visits of waves: a few milliseconds
UNKNOWN_START_SECONDS = 30.0  # until a waiting job begins, where no pace is known: about one compilation


class Forecast:
    """Seconds until jobs are done.

    running  works that have begun, oldest first
    waiting  works at the front of the queue, in order
    ahead    of queued jobs, by id: all that waits before them, also behind `waiting`
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
        """For these records, of which one may be about to be queued; for all jobs by default."""
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
        """How many jobs wait before a queued one."""
        return self._ahead[job_id].jobs if job_id in self._ahead else None

    def seconds(self, work: Work) -> float | None:
        """Until the job is done; None where the pace of a model before it has never been measured."""
        ahead = self._ahead.get(work.job_id, Ahead(0, {}))
        if not {work.model, *ahead.row_steps} <= self._paces.keys() or self._simulation is None:
            return None
        return round(self._simulation.end(work, ahead), 1)

    def start_seconds(self) -> float:
        """Until the next waiting job begins and its place in the queue is free."""
        if self._simulation is None:
            return UNKNOWN_START_SECONDS
        later = [seconds for seconds in self._simulation.begun if seconds > 0]
        return later[0] if later else self._simulation.mean_seconds

    @cached_property
    def _simulation(self) -> _Simulation | None:
        """None where a pace is unknown."""
        if not {work.model for work in [*self._running, *self._waiting]} <= self._paces.keys():
            return None
        simulation = _Simulation(self._running, self._waiting, self._paces, self._workers)
        simulation.run(self._wanted)
        return simulation


class _Worker:
    """One worker: a scheduler per model, which share its time evenly."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.schedulers: dict[str, Scheduler] = {}
        self._spent: dict[str, float] = {}  # seconds that each model was given
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
        """One quantum of the model that has had the least time; returns when jobs ended in it."""
        busy = [model for model, scheduler in self.schedulers.items() if not scheduler.idle]
        model = min(busy, key=self._spent.__getitem__)
        scheduler = self.schedulers[model]
        decision = scheduler.decide(self._last.get(model, 0.0))
        quantum = self.seconds / PRECISION
        waves = sorted(decision.moving, key=lambda wave: wave.steps_left)
        rows = sum(wave.evaluations for wave in waves)
        steps = max(1, min(int(quantum / scheduler.pace.of(rows)), waves[-1].steps_left))
        seconds, done, ends = 0.0, 0, dict[str, float]()
        for wave in waves:  # which end in turn, and leave fewer rows to each step
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
        left = scheduler.keys
        return {key: end for key, end in ends.items() if key not in left}


class _Simulation:
    """The workers from now on."""

    def __init__(
        self, running: Sequence[Work], waiting: Sequence[Work], paces: Mapping[str, Pace], workers: int
    ) -> None:
        self._paces = paces
        self._workers = [_Worker() for _ in range(workers)]
        self._waiting = deque(waiting)
        self._taken = dict.fromkeys(paces, 0.0)  # row-steps of waiting jobs that have begun since, by model
        self._ends: dict[str, float] = {}
        self.begun: list[float] = []  # when waiting jobs begin
        works = [*running, *waiting]
        total = sum(self._seconds(work.model, work.row_steps_left) for work in works)
        self.mean_seconds = total / workers / max(1, len(works))  # between the ends of two jobs
        for work in running:
            worker = min(self._workers, key=lambda worker: worker.jobs)
            worker.begin(work, paces[work.model]).admit()  # so that each enters as it did, beside those before it

    def run(self, wanted: set[str]) -> None:
        """Until all wanted jobs have ended or the budget is spent."""
        budget = BUDGET
        while budget > 0 and not wanted <= self._ends.keys():
            self._take()
            busy = [worker for worker in self._workers if not worker.idle]
            if not busy:
                return
            worker = min(busy, key=lambda worker: worker.seconds)
            self._ends |= worker.step()
            budget -= 2 + sum(len(scheduler.waves) for scheduler in worker.schedulers.values())

    def end(self, work: Work, ahead: Ahead) -> float:
        """When a job ends: as simulated, or by the work before it over the rate of full batches."""
        if work.job_id in self._ends:
            return self._ends[work.job_id]
        inside = self._inside()
        if work.job_id in inside:  # equal shares: each of the others has done as much when this one ends
            own = inside[work.job_id]
            return self._now + sum(min(own, other) for other in inside.values()) / len(self._workers)
        before = sum(
            self._seconds(model, row_steps - self._taken[model]) for model, row_steps in ahead.row_steps.items()
        )
        pace = self._paces[work.model]
        return self._now + (sum(inside.values()) + before) / len(self._workers) + _alone(work, pace)

    @property
    def _now(self) -> float:
        busy = [worker for worker in self._workers if not worker.idle]
        return min(worker.seconds for worker in busy or self._workers)

    def _take(self) -> None:
        """Waiting jobs begin where a worker has room for the first of them."""
        while self._waiting:
            free = [worker for worker in self._workers if worker.has_room(self._waiting[0])]
            if not free:
                return
            work = self._waiting.popleft()
            worker = min(free, key=lambda worker: (worker.seconds, worker.jobs))
            self.begun.append(worker.seconds)
            self._taken[work.model] += work.row_steps
            worker.begin(work, self._paces[work.model])

    def _inside(self) -> dict[str, float]:
        """Seconds of work that is left of each job that has begun."""
        return {
            key: self._seconds(model, row_steps)
            for worker in self._workers
            for model, scheduler in worker.schedulers.items()
            for key, row_steps in scheduler.row_steps_left().items()
        }

    def _seconds(self, model: str, row_steps: float) -> float:
        pace = self._paces[model]
        return max(0.0, row_steps) * pace.of(pace.batch) / pace.batch


def _job(work: Work, pace: Pace) -> Job:
    """A job as far as its record tells: images that are under way are taken to be at one row."""
    left = work.images - work.images_done
    count = min(left, pace.slots)
    begun = work.steps_done - work.images_done * work.steps
    row = min(work.steps - 1, begun // count) if count > 0 else 0
    if row and begun - row * count:  # of many waves, as many images as can have come that far
        count = max(1, min(left, round(begun / row)))
    spans = [Span(work.images - left, count, row), Span(work.images - left + count, left - count)]
    return Job(work.job_id, work.priority, work.steps, deque(span for span in spans if span.count), work.evaluations)


def _alone(work: Work, pace: Pace) -> float:
    """Seconds of a job that has the machine to itself."""
    images = work.images - work.images_done
    return math.ceil(images / pace.slots) * work.steps * pace.of(min(images, pace.slots) * work.evaluations)
