"""The engine: many tasks, one batch, one denoising step at a time. Knows nothing of Redis or RQ.

A task's images enter in waves: as many as there is room for, which then move together. At every step boundary
finished waves leave and waiting images enter, whichever task they belong to.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jobs.schema import JobSpec
from model import images, noise, samplers
from model.samplers import Table
from model.schedule import Schedule
from worker.network import Network

# Rows kept back for tasks that hold none, so that one image asked for now does not wait for a thousand asked earlier.
RESERVE = 0.25  # of the slots


@dataclass(slots=True, eq=False)
class Task:
    """A job as the engine sees it: images `first_index` … of one seed."""

    key: str
    seed: int
    first_index: int
    count: int
    table: Table
    labels: list[int] | None
    guidance: list[float]  # one an image
    schedule: Schedule
    start_image: Tensor | None = None  # (C, H, W), which noise is added to
    entered: int = 0  # images that have entered the batch
    rows: int = 0  # images in the batch now

    @classmethod
    def of(cls, key: str, spec: JobSpec, schedule: Schedule, channels: int) -> Task:
        """The task that makes a spec's images, of so many channels. Raises ValueError for a table that cannot be."""
        options = {} if spec.eta is None else {"eta": spec.eta}
        return cls(
            key=key,
            seed=spec.seed,
            first_index=spec.first_index,
            count=spec.count,
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
    guidance: Tensor  # (n,) float32
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
    x0: Tensor

    @property
    def last(self) -> bool:
        return self.row == len(self.task.table)


@dataclass(slots=True)
class Engine:
    """Runs tasks on one network.

    slots  images in the batch; a quarter more may enter for tasks that hold none
    """

    network: Network
    shape: tuple[int, int, int]
    slots: int
    _tasks: list[Task] = field(default_factory=list)  # with images still to enter, oldest first
    _waves: list[Wave] = field(default_factory=list)

    @property
    def idle(self) -> bool:
        return not self._tasks and not self._waves

    @property
    def rows(self) -> int:
        return sum(map(len, self._waves))

    @property
    def reserve(self) -> int:
        return math.ceil(self.slots * RESERVE)

    @property
    def has_room(self) -> bool:
        """Whether a new task would enter at the next step, rather than wait here where no other worker can take it."""
        return not any(task.rows == 0 for task in self._tasks) and self.rows < self.slots + self.reserve

    def add(self, task: Task) -> None:
        self._tasks.append(task)

    def remove(self, key: str) -> None:
        """Drops a task, whatever of it is waiting or in the batch."""
        self._tasks = [task for task in self._tasks if task.key != key]
        self._waves = [wave for wave in self._waves if wave.task.key != key]

    @torch.no_grad()
    def step(self) -> list[Step]:
        """Lets waiting images in, denoises every row once, lets finished waves out, and says what moved."""
        self._admit()
        if not self._waves:
            return []
        x = torch.cat([wave.x for wave in self._waves])
        x0_prev = torch.cat([wave.x0 for wave in self._waves])
        coefficients = self._per_row(lambda wave: wave.task.table.coefficients[wave.row])
        t = self._per_row(lambda wave: wave.task.table.timesteps[wave.row])
        labels = [wave.labels for wave in self._waves if wave.labels is not None]
        guidance = torch.cat([wave.guidance for wave in self._waves])
        output = self.network(x, t, torch.cat(labels) if labels else None, guidance)
        kinds = [kind for wave in self._waves for kind in [wave.task.table.thresholding] * len(wave)]
        x, x0 = samplers.step(coefficients, x, x0_prev, output, self._noise(), kinds)
        return list(self._advance(x, x0))

    def _admit(self) -> None:
        """Shares the free rows: first among tasks that hold none, which may use the reserve, then in order of age."""
        waiting = sorted(self._tasks, key=lambda task: task.rows > 0)
        for i, task in enumerate(waiting):
            room = self.slots - self.rows
            if task.rows == 0:
                newcomers = sum(other.rows == 0 for other in waiting[i:])
                room = max(room, min(self.reserve, self.slots + self.reserve - self.rows))
                room = -(-room // newcomers)
            count = min(task.count - task.entered, room)
            if count > 0:
                self._enter(task, count)
        self._tasks = [task for task in self._tasks if task.entered < task.count]

    def _enter(self, task: Task, count: int) -> None:
        device, first = self.network.device, task.entered
        indices = torch.arange(first, first + count, device=device) + task.first_index
        x = noise.x_T(torch.full_like(indices, noise.to_int64(task.seed)), indices, self.shape)
        if task.start_image is not None:
            t = task.table.timesteps[:1].to(device).expand(count)
            x = task.schedule.q_sample(task.start_image.to(device).expand_as(x), t, x)
        labels = None if task.labels is None else torch.tensor(task.labels[first : first + count], device=device)
        guidance = torch.tensor(task.guidance[first : first + count], device=device)
        self._waves.append(Wave(task, first, x, torch.zeros_like(x), indices, labels, guidance))
        task.entered += count
        task.rows += count

    def _noise(self) -> Tensor:
        """Each row's noise (B, C, H, W), a function of its seed, index and row of the table alone."""
        seeds = self._per_row(lambda wave: torch.tensor(noise.to_int64(wave.task.seed)))
        rows = self._per_row(lambda wave: torch.tensor(wave.row))
        return noise.step_noise(seeds, torch.cat([wave.indices for wave in self._waves]), rows, self.shape)

    def _advance(self, x: Tensor, x0: Tensor) -> Iterator[Step]:
        sizes = [len(wave) for wave in self._waves]
        for wave, wave_x, wave_x0 in zip(self._waves, x.split(sizes), x0.split(sizes), strict=True):
            wave.x, wave.x0 = wave_x, wave_x0
            timestep = int(wave.task.table.timesteps[wave.row])
            wave.row += 1
            step = Step(wave.task, wave.first, wave.row, timestep, wave.x0)
            if step.last:
                wave.task.rows -= len(wave)
            yield step
        self._waves = [wave for wave in self._waves if wave.row < len(wave.task.table)]

    def _per_row(self, of: Callable[[Wave], Tensor]) -> Tensor:
        """One value a wave, repeated for each of its rows, on the network's device in one copy."""
        values = torch.stack([of(wave) for wave in self._waves])
        sizes = torch.tensor([len(wave) for wave in self._waves])
        return values.repeat_interleave(sizes, dim=0).to(self.network.device)
