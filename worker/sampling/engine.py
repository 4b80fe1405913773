"""The engine: many tasks, one batch, one denoising step at a time. Knows nothing of Redis or RQ.

A task's images enter in waves: as many as there is room for, which then move together. At every step boundary
finished waves leave and waiting images enter, whichever task they belong to. Images that do not move cost nothing but
memory, so that a task finds room beside many that fill the batch.

Tasks share the machine's time, not its rows: a step of 65 rows takes nine times as long as one of a single row, so
that a small task which only ever moved along with a large one would hardly move at all. At each step those move that
have had the least time so far, and whoever can ride along for nothing.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor

from jobs.pace import MAX_RIDER_SLOWDOWN, Pace, weight
from jobs.schema import JobSpec, Priority
from model import images
from model.sampling import noise, samplers
from model.sampling.samplers import Table
from model.sampling.schedule import Schedule
from worker.sampling.chunks import Chunk
from worker.sampling.network import Network


@dataclass(slots=True, eq=False)
class Task:
    """A job as the engine sees it: images `first_index` … of one seed."""

    key: str
    seed: int
    first_index: int
    table: Table
    labels: list[int] | None
    guidance: list[float]  # one an image
    schedule: Schedule
    waiting: deque[Chunk]  # what has not entered the batch
    priority: Priority
    start_image: Tensor | None = None  # (C, H, W), which noise is added to
    number: int = 0  # in the order in which they came
    rows: int = 0  # images under way
    time: float = 0.0  # that it has been given, in seconds over its weight

    @property
    def images_left(self) -> int:
        return self.rows + sum(chunk.count for chunk in self.waiting)

    @classmethod
    def of(cls, key: str, spec: JobSpec, schedule: Schedule, channels: int, chunks: list[Chunk] | None = None) -> Task:
        """The task that makes a spec's images, of so many channels. Raises ValueError for a table that cannot be.

        chunks  what is left of it, where some has been done
        """
        options = {} if spec.eta is None else {"eta": spec.eta}
        return cls(
            key=key,
            seed=spec.seed,
            first_index=spec.first_index,
            table=samplers.table(
                spec.sampler,
                schedule,
                spec.steps,
                spacing=spec.spacing,
                start=spec.start,
                thresholding=spec.thresholding,
                **options,
            ),
            labels=spec.labels,
            guidance=[spec.guidance(position) for position in range(spec.count)],
            schedule=schedule,
            waiting=deque([Chunk(0, spec.count)] if chunks is None else chunks),
            priority=spec.priority,
            start_image=None if spec.image is None else images.read(base64.b64decode(spec.image), channels),
        )


@dataclass(slots=True, eq=False)
class Wave:
    """Images of a task that move together: positions `first` … of the task, at row `row` of its table."""

    task: Task
    first: int
    x: Tensor  # (n, C, H, W)
    x0: Tensor  # (n, C, H, W), of the row before
    indices: Tensor  # (n,) int64, under the task's seed
    labels: Tensor | None  # (n,) int64
    guidance: Tensor  # (n,) float32, on the CPU
    evaluations: int  # of the network, a step: guided images take two
    row: int = 0

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, slots=True)
class Step:
    """One wave after one step: `row` rows of the table are done; x0 (n, C, H, W) is what it looks like."""

    task: Task
    first: int
    row: int
    timestep: int
    evaluations: int
    x0: Tensor

    @property
    def last(self) -> bool:
        return self.row == len(self.task.table)


@dataclass(slots=True)
class Engine:
    """Runs tasks on one network."""

    network: Network
    shape: tuple[int, int, int]
    _added: int = 0
    _tasks: list[Task] = field(default_factory=list)  # with images still to enter, oldest first
    _waves: list[Wave] = field(default_factory=list)
    _moved: list[Wave] = field(default_factory=list)  # whose turn the last step was

    @property
    def _pace(self) -> Pace:
        return self.network.pace

    @property
    def idle(self) -> bool:
        return not self._tasks and not self._waves

    @property
    def rows(self) -> int:
        return sum(map(len, self._waves))

    def has_room(self, priority: Priority) -> bool:
        """Whether a new task would enter at the next step, rather than wait here where no other worker can take it."""
        newcomers = [task for task in self._tasks if task.rows == 0]
        if priority == "batch" and (newcomers or (self._batch_tasks() and self.rows >= self._pace.slots)):
            return False
        interactive = sum(task.priority == "interactive" for task in newcomers)
        return self.rows + interactive * self._pace.admission_limit < self._pace.slots + self._pace.reserve

    def add(self, task: Task) -> None:
        self._added += 1
        task.number = self._added
        self._tasks.append(task)

    def chunks(self, key: str) -> list[Chunk]:
        """What a task has begun, as it can be kept and gone on with."""
        waves = [wave for wave in self._waves if wave.task.key == key]
        inside = [Chunk(wave.first, len(wave), wave.row, wave.x, wave.x0) for wave in waves]
        waiting = [chunk for task in self._tasks if task.key == key for chunk in task.waiting]
        return [chunk for chunk in inside + waiting if chunk.row > 0]

    def remove(self, key: str) -> None:
        """Drops a task, whatever of it is waiting or in the batch."""
        self._tasks = [task for task in self._tasks if task.key != key]
        self._waves = [wave for wave in self._waves if wave.task.key != key]

    @torch.no_grad()
    def step(self, took: float | None = None) -> list[Step]:
        """Lets waiting images in, moves those whose turn it is, lets finished waves out, and says what moved.

        took  seconds of the step before, with all that came with it; by default what is expected of one
        """
        self._charge(took)
        self._admit()
        if not self._waves:
            return []
        waves = self._turn()
        x = torch.cat([wave.x for wave in waves])
        x0_prev = torch.cat([wave.x0 for wave in waves])
        coefficients = self._per_row(waves, lambda wave: wave.task.table.coefficients[wave.row])
        t = self._per_row(waves, lambda wave: wave.task.table.timesteps[wave.row])
        labels = [wave.labels for wave in waves if wave.labels is not None]
        guidance = torch.cat([wave.guidance for wave in waves])
        output = self.network(x, t, torch.cat(labels) if labels else None, guidance)
        kinds = [kind for wave in waves for kind in [wave.task.table.thresholding] * len(wave)]
        x, x0 = samplers.step(coefficients, x, x0_prev, output, self._noise(waves), kinds)
        return list(self._advance(waves, x, x0))

    def _charge(self, took: float | None) -> None:
        """Divides the time of the last step among those whose turn it was."""
        rows = sum(wave.evaluations for wave in self._moved)
        seconds = self._pace.of(rows) if took is None else took
        for wave in self._moved:
            task = wave.task
            share = weight(task.priority, task.images_left, self._pace.slots)
            task.time += seconds * wave.evaluations / rows / share

    def _turn(self) -> list[Wave]:
        """The waves that move now: those whose turn it is, and free riders."""
        pace = self._pace
        waiting = sorted(self._waves, key=lambda wave: wave.task.time)
        until = waiting[0].task.time + pace.of(1)
        together = accumulate(map(len, waiting))
        due = sum(wave.task.time <= until and rows <= pace.slots for wave, rows in zip(waiting, together, strict=True))
        self._moved = waiting[: max(1, due)]
        rows = sum(wave.evaluations for wave in self._moved)
        seconds, riders = pace.of(rows), list[Wave]()
        for wave in waiting[len(self._moved) :]:
            if pace.of(rows + wave.evaluations) <= (1 + MAX_RIDER_SLOWDOWN) * seconds:
                riders.append(wave)
                rows += wave.evaluations
        return self._moved + riders

    def _admit(self) -> None:
        """Lets waiting images in, first of tasks that hold none: each enters beside all that are there already."""
        waiting = sorted(self._tasks, key=lambda task: (self._lines_up(task), task.rows > 0, task.priority == "batch"))
        newcomers = sum(task.rows == 0 and not self._lines_up(task) for task in waiting)
        for i, task in enumerate(waiting):
            room = self._pace.slots - self.rows
            if i < newcomers:
                left = room + self._pace.reserve
                entry = min(
                    self._pace.admission_limit, -(-left // 2)
                )  # half of what is left, so that others find some too
                room = max(-(-room // (newcomers - i)), entry)
            while task.waiting and room > 0:
                chunk = task.waiting.popleft()
                stop = chunk.first + min(chunk.count, room)
                if stop < chunk.first + chunk.count:
                    task.waiting.appendleft(chunk.cut(stop, chunk.first + chunk.count))
                room -= stop - chunk.first
                self._enter(task, chunk.cut(chunk.first, stop))
        self._tasks = [task for task in self._tasks if task.waiting]

    def _lines_up(self, task: Task) -> bool:
        """Whether it takes only what others leave of the slots: of the class `batch` one job comes after another."""
        return task.priority == "batch" and any(other.number < task.number for other in self._batch_tasks())

    def _batch_tasks(self) -> list[Task]:
        tasks = [*self._tasks, *(wave.task for wave in self._waves)]
        return [task for task in tasks if task.priority == "batch"]

    def _enter(self, task: Task, chunk: Chunk) -> None:
        device, first, stop = self.network.device, chunk.first, chunk.first + chunk.count
        indices = torch.arange(first, stop, device=device) + task.first_index
        if chunk.x is not None and chunk.x0 is not None:
            x, x0 = chunk.x.to(device), chunk.x0.to(device)
        else:
            x = self._begin(task, indices)
            x0 = torch.zeros_like(x)
        labels = None if task.labels is None else torch.tensor(task.labels[first:stop], device=device)
        scales = task.guidance[first:stop]
        evaluations = sum(1 if scale == 1 else 2 for scale in scales)
        guidance = torch.tensor(scales)
        self._waves.append(Wave(task, first, x, x0, indices, labels, guidance, evaluations, chunk.row))
        if task.rows == 0:  # no credit for the time in which it was not here, nor for that before
            task.time = max(task.time, min((wave.task.time for wave in self._waves[:-1]), default=0.0))
        task.rows += chunk.count

    def _begin(self, task: Task, indices: Tensor) -> Tensor:
        """Where images begin: in noise, or in as much of it as their start image is given."""
        x = noise.x_T(torch.full_like(indices, noise.to_int64(task.seed)), indices, self.shape)
        if task.start_image is None:
            return x
        t = task.table.timesteps[:1].to(x.device).expand(len(x))
        return task.schedule.q_sample(task.start_image.to(x.device).expand_as(x), t, x)

    def _noise(self, waves: list[Wave]) -> Tensor:
        """Each row's noise (B, C, H, W), a function of its seed, index and row of the table alone; 0 where E is 0."""
        noisy = [wave for wave in waves if wave.task.table.noise[wave.row] != 0]
        drawn = dict[Wave, Tensor]()
        if noisy:
            seeds = self._per_row(noisy, lambda wave: torch.tensor(noise.to_int64(wave.task.seed)))
            rows = self._per_row(noisy, lambda wave: torch.tensor(wave.row))
            indices = torch.cat([wave.indices for wave in noisy])
            every = noise.step_noise(seeds, indices, rows, self.shape)
            drawn = dict(zip(noisy, every.split([len(wave) for wave in noisy]), strict=True))
        return torch.cat([drawn[wave] if wave in drawn else torch.zeros_like(wave.x) for wave in waves])

    def _advance(self, waves: list[Wave], x: Tensor, x0: Tensor) -> Iterator[Step]:
        sizes = [len(wave) for wave in waves]
        for wave, wave_x, wave_x0 in zip(waves, x.split(sizes), x0.split(sizes), strict=True):
            wave.x, wave.x0 = wave_x, wave_x0
            timestep = int(wave.task.table.timesteps[wave.row])
            wave.row += 1
            step = Step(wave.task, wave.first, wave.row, timestep, wave.evaluations, wave.x0)
            if step.last:
                wave.task.rows -= len(wave)
            yield step
        self._waves = [wave for wave in self._waves if wave.row < len(wave.task.table)]

    def _per_row(self, waves: list[Wave], of: Callable[[Wave], Tensor]) -> Tensor:
        """One value a wave, repeated for each of its rows, on the network's device in one copy."""
        values = torch.stack([of(wave) for wave in waves])
        sizes = torch.tensor([len(wave) for wave in waves])
        return values.repeat_interleave(sizes, dim=0).to(self.network.device, non_blocking=True)
