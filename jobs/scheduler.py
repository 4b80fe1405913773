"""The policy of a shared batch: which images enter it and which move at a step. Plain numbers only, no tensors.

A job's images enter in waves: as many as fit, which then move together. Images that do not move only cost memory, so a
job may enter while other jobs fill the slots.

Jobs share the machine's time, not its rows: a step of 65 rows takes nine times as long as one of a single row, so a
small job that moved only together with a large one would be nine times as slow as alone. This is stride scheduling
(Waldspurger and Weihl 1995): each step goes to the jobs of least virtual time and is charged to them. Other waves ride
along free of charge if they barely slow the step down.

The worker's engine carries out the decisions; the app's forecasts simulate them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from jobs.pace import MAX_RIDER_SLOWDOWN, Pace, weight
from jobs.schema import Priority


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive images of a job, from `first` on, with `row` rows of the table done."""

    first: int
    count: int
    row: int = 0


@dataclass(slots=True, eq=False)
class Job:
    """A job as the scheduler sees it.

    steps        rows of its table
    waiting      images that have not entered the batch
    evaluations  network evaluations per step of an image: one value for all images, or one per image
    """

    key: str
    priority: Priority
    steps: int
    waiting: deque[Span]
    evaluations: float | Sequence[int] = 1.0
    number: int = 0  # ordinal of arrival
    images_inside: int = 0  # images in the batch
    virtual_time: float = 0.0  # seconds charged, divided by the job's weight

    @property
    def images_left(self) -> int:
        return self.images_inside + sum(span.count for span in self.waiting)

    def evaluations_of(self, span: Span) -> float:
        if isinstance(self.evaluations, float):
            return self.evaluations * span.count
        return sum(self.evaluations[span.first : span.first + span.count])


@dataclass(slots=True, eq=False)
class Wave:
    """Images of one job that entered together and move together; `row` rows of the table are done."""

    job: Job
    first: int
    count: int
    row: int
    evaluations: float  # network evaluations per step

    @property
    def steps_left(self) -> int:
        return self.job.steps - self.row


@dataclass(frozen=True, slots=True)
class Decision:
    """One step of the batch."""

    entering: Sequence[Wave] = ()
    charged: Sequence[Wave] = ()  # the step's time is divided among these
    riders: Sequence[Wave] = ()  # move along free of charge

    @property
    def moving(self) -> list[Wave]:
        return [*self.charged, *self.riders]


class Scheduler:
    """Decides for the jobs of one network. The caller repeats: `decide`, carry out the decision, `advance`."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.waves: list[Wave] = []  # in order of entry
        self._jobs: list[Job] = []  # not finished, in order of arrival
        self._added = 0
        self._last = Decision()

    @property
    def idle(self) -> bool:
        return not self._jobs

    @property
    def keys(self) -> set[str]:
        return {job.key for job in self._jobs}

    @property
    def images_inside(self) -> int:
        return sum(job.images_inside for job in self._jobs)

    def has_room(self, priority: Priority) -> bool:
        """Whether a new job would enter at the next step. If not, it stays in the queue for any worker to take."""
        newcomers = [job for job in self._jobs if job.images_inside == 0]
        inside = self.images_inside
        if priority == "batch" and (newcomers or (self._oldest_batch() is not None and inside >= self.pace.slots)):
            return False
        reserved = sum(job.priority == "interactive" for job in newcomers) * self.pace.admission_limit
        return inside + reserved < self.pace.slots + self.pace.reserve

    def add(self, job: Job) -> None:
        self._added += 1
        job.number = self._added
        self._jobs.append(job)

    def remove(self, key: str) -> None:
        self._jobs = [job for job in self._jobs if job.key != key]
        self.waves = [wave for wave in self.waves if wave.job.key != key]

    def waiting(self, key: str) -> list[Span]:
        """A job's images that have not entered the batch."""
        return [span for job in self._jobs if job.key == key for span in job.waiting]

    def row_steps_left(self) -> dict[str, float]:
        """Remaining network evaluations, by job."""
        left = {
            job.key: sum(job.evaluations_of(span) * (job.steps - span.row) for span in job.waiting)
            for job in self._jobs
        }
        for wave in self.waves:
            left[wave.job.key] += wave.evaluations * wave.steps_left
        return left

    def decide(self, seconds: float | None = None) -> Decision:
        """The next step.

        seconds  measured duration of the last step; by default what the pace expects
        """
        self._charge(seconds)
        entering = self.admit()
        charged, others = self._due()
        self._last = Decision(entering, charged, self._riders(charged, others))
        return self._last

    def advance(self, steps: int = 1) -> None:
        """Moves the waves of the last decision by `steps` rows, and removes those that are finished."""
        for wave in self._last.moving:
            wave.row = min(wave.row + steps, wave.job.steps)
            if not wave.steps_left:
                wave.job.images_inside -= wave.count
        self.waves = [wave for wave in self.waves if wave.steps_left]
        self._jobs = [job for job in self._jobs if job.images_inside or job.waiting]

    def _charge(self, seconds: float | None) -> None:
        evaluations = sum(wave.evaluations for wave in self._last.charged)
        if seconds is None:
            seconds = self.pace.of(evaluations)
        for wave in self._last.charged:
            job = wave.job
            share = weight(job.priority, job.images_left, self.pace.slots)
            job.virtual_time += seconds * wave.evaluations / evaluations / share

    def admit(self) -> list[Wave]:
        """Admits waiting images. Jobs with none in the batch come first and enter even if the slots are full."""
        oldest_batch = self._oldest_batch()

        def behind_batch(job: Job) -> bool:
            """Jobs of the class `batch` enter one after another: all but the oldest take free slots only."""
            return job.priority == "batch" and job.number != oldest_batch

        waiting = [job for job in self._jobs if job.waiting]
        waiting.sort(key=lambda job: (behind_batch(job), job.images_inside > 0, job.priority == "batch"))
        newcomers = sum(job.images_inside == 0 and not behind_batch(job) for job in waiting)
        entering: list[Wave] = []
        inside = self.images_inside
        for i, job in enumerate(waiting):
            room = self.pace.slots - inside
            if i < newcomers:
                # At most half of the remaining capacity, so that some remains for the next newcomers.
                beside = min(self.pace.admission_limit, -(-(room + self.pace.reserve) // 2))
                room = max(-(-room // (newcomers - i)), beside)
            while job.waiting and room > 0:
                wave = self._enter(job, room)
                entering.append(wave)
                room -= wave.count
                inside += wave.count
        return entering

    def _enter(self, job: Job, room: int) -> Wave:
        """The next wave of a job, of at most `room` images."""
        span = job.waiting.popleft()
        if span.count > room:
            job.waiting.appendleft(replace(span, first=span.first + room, count=span.count - room))
            span = replace(span, count=room)
        if job.images_inside == 0:  # no credit for the time before it entered
            least = min((wave.job.virtual_time for wave in self.waves), default=0.0)
            job.virtual_time = max(job.virtual_time, least)
        job.images_inside += span.count
        wave = Wave(job, span.first, span.count, span.row, job.evaluations_of(span))
        self.waves.append(wave)
        return wave

    def _due(self) -> tuple[list[Wave], list[Wave]]:
        """The waves whose turn it is, with at most `slots` images, and the others; both by virtual time."""
        waves = sorted(self.waves, key=lambda wave: wave.job.virtual_time)
        if not waves:
            return [], []
        latest = waves[0].job.virtual_time + self.pace.of(1)
        due, images = 0, 0
        for wave in waves:
            images += wave.count
            if wave.job.virtual_time > latest or images > self.pace.slots:
                break
            due += 1
        due = max(1, due)
        return waves[:due], waves[due:]

    def _riders(self, charged: list[Wave], others: list[Wave]) -> list[Wave]:
        evaluations = sum(wave.evaluations for wave in charged)
        limit = (1 + MAX_RIDER_SLOWDOWN) * self.pace.of(evaluations)
        riders: list[Wave] = []
        for wave in others:
            if self.pace.of(evaluations + wave.evaluations) <= limit:
                riders.append(wave)
                evaluations += wave.evaluations
        return riders

    def _oldest_batch(self) -> int | None:
        """Number of the oldest job of the class `batch`."""
        return next((job.number for job in self._jobs if job.priority == "batch"), None)
