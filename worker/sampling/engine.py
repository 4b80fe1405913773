"""The engine: images of many jobs in one batch, one denoising step at a time. Independent of Redis and RQ.

`jobs.scheduler` decides which images enter the batch and which move; the engine holds their tensors and runs the
network. Its decisions change no byte: noise is keyed by seed, index and row, and rows do not depend on each other.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from jobs.scheduler import Job, Scheduler, Span, Wave
from jobs.schema import JobSpec, Priority
from model import images
from model.sampling import noise, samplers
from model.sampling.samplers import Table
from model.sampling.schedule import Schedule
from worker.sampling.chunks import Chunk
from worker.sampling.network import Network


@dataclass(slots=True, eq=False)
class Task:
    """A job as the engine sees it: consecutive images of one seed, from `first_index` on."""

    key: str
    seed: int
    first_index: int
    table: Table
    labels: list[int] | None  # one per image
    guidance: list[float]  # one per image
    schedule: Schedule
    chunks: list[Chunk]  # remaining images, new or begun by an earlier attempt
    priority: Priority
    start_image: Tensor | None = None  # (C, H, W)

    @classmethod
    def of(cls, key: str, spec: JobSpec, schedule: Schedule, channels: int, chunks: list[Chunk] | None = None) -> Task:
        """The task of a spec. Raises ValueError if its sampler has no table of so many steps.

        channels  number of channels of the model's images
        chunks    remaining images; all by default
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
            chunks=[Chunk(0, spec.count)] if chunks is None else chunks,
            priority=spec.priority,
            start_image=None if spec.image is None else images.read(base64.b64decode(spec.image), channels),
        )

    @property
    def job(self) -> Job:
        """The task as the scheduler sees it."""
        spans = deque(Span(chunk.first, chunk.count, chunk.row) for chunk in self.chunks)
        evaluations = bytes(1 if scale == 1 else 2 for scale in self.guidance)
        return Job(self.key, self.priority, len(self.table), spans, evaluations)

    def chunk(self, first: int, count: int) -> Chunk:
        """`count` images from `first` on, all of which must be in one of its chunks."""
        chunk = next(chunk for chunk in self.chunks if chunk.first <= first < chunk.first + chunk.count)
        return chunk.cut(first, first + count)


@dataclass(slots=True, eq=False)
class State:
    """The tensors of one wave of n images."""

    x: Tensor  # (n, C, H, W)
    x0: Tensor  # (n, C, H, W), x̂0 of the previous row
    indices: Tensor  # (n,) int64, of the images under the task's seed
    labels: Tensor | None  # (n,) int64
    guidance: Tensor  # (n,) float32, on the CPU


@dataclass(frozen=True, slots=True)
class Step:
    """The result of one step for one wave of n images."""

    task: Task
    first: int  # position in the job of the wave's first image
    row: int  # rows of the table that are done
    timestep: int
    evaluations: int  # network evaluations
    x0: Tensor  # (n, C, H, W), the prediction

    @property
    def last(self) -> bool:
        return self.row == len(self.task.table)


@dataclass(slots=True)
class Engine:
    """Runs tasks on one network."""

    network: Network
    shape: tuple[int, int, int]
    _tasks: dict[str, Task] = field(default_factory=dict)  # unfinished tasks by key
    _states: dict[Wave, State] = field(default_factory=dict)
    _scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        self._scheduler = Scheduler(self.network.pace)

    @property
    def idle(self) -> bool:
        return self._scheduler.idle

    def has_room(self, priority: Priority) -> bool:
        """Whether a new task would enter at the next step. If not, its job stays in the queue for any worker."""
        self._scheduler.pace = self.network.pace  # may have been measured again
        return self._scheduler.has_room(priority)

    def add(self, task: Task) -> None:
        self._tasks[task.key] = task
        self._scheduler.add(task.job)

    def remove(self, key: str) -> None:
        """Drops a task and its images, if the engine holds it."""
        self._scheduler.remove(key)
        self._forget_finished()

    def chunks(self, key: str) -> list[Chunk]:
        """A task's images that are begun and unfinished, for a later attempt to resume."""
        begun = [
            Chunk(wave.first, wave.count, wave.row, state.x, state.x0)
            for wave, state in self._states.items()
            if wave.job.key == key
        ]
        waiting = self._scheduler.waiting(key)
        return begun + [self._tasks[key].chunk(span.first, span.count) for span in waiting if span.row > 0]

    @torch.no_grad()
    def step(self, last_seconds: float | None = None) -> list[Step]:
        """Carries out the scheduler's next decision, and returns the results of the waves that moved.

        last_seconds  measured duration of the last step, publishing included; by default what the pace expects
        """
        self._scheduler.pace = self.network.pace
        decision = self._scheduler.decide(last_seconds)
        for wave in decision.entering:
            self._states[wave] = self._enter(wave)
        waves = decision.moving
        if not waves:
            return []
        states = [self._states[wave] for wave in waves]
        x = torch.cat([state.x for state in states])
        x0_prev = torch.cat([state.x0 for state in states])
        coefficients = self._per_row(waves, lambda wave: self._table(wave).coefficients[wave.row])
        t = self._per_row(waves, lambda wave: self._table(wave).timesteps[wave.row])
        labels = [state.labels for state in states if state.labels is not None]
        guidance = torch.cat([state.guidance for state in states])
        output = self.network(x, t, torch.cat(labels) if labels else None, guidance)
        kinds = [kind for wave in waves for kind in [self._table(wave).thresholding] * wave.count]
        x, x0 = samplers.step(coefficients, x, x0_prev, output, self._noise(waves), kinds)
        return self._advance(waves, x, x0)

    def _enter(self, wave: Wave) -> State:
        """The tensors of a wave that enters the batch, new or resumed."""
        task, device = self._tasks[wave.job.key], self.network.device
        chunk = task.chunk(wave.first, wave.count)
        indices = torch.arange(wave.first, wave.first + wave.count, device=device) + task.first_index
        if chunk.x is not None and chunk.x0 is not None:
            x, x0 = chunk.x.to(device), chunk.x0.to(device)
        else:
            x = self._begin(task, indices)
            x0 = torch.zeros_like(x)
        inside = slice(wave.first, wave.first + wave.count)
        labels = None if task.labels is None else torch.tensor(task.labels[inside], device=device)
        return State(x, x0, indices, labels, torch.tensor(task.guidance[inside]))

    def _begin(self, task: Task, indices: Tensor) -> Tensor:
        """x at the table's first timestep: pure noise, or the start image noised to that timestep."""
        x = noise.x_T(torch.full_like(indices, noise.to_int64(task.seed)), indices, self.shape)
        if task.start_image is None:
            return x
        t = task.table.timesteps[:1].to(x.device).expand(len(x))
        return task.schedule.q_sample(task.start_image.to(x.device).expand_as(x), t, x)

    def _noise(self, waves: list[Wave]) -> Tensor:
        """Noise (B, C, H, W), a function of seed, index and row of the table only; 0 where its coefficient is 0."""
        noisy = [wave for wave in waves if self._table(wave).noise[wave.row] != 0]
        drawn = dict[Wave, Tensor]()
        if noisy:
            seeds = self._per_row(noisy, lambda wave: torch.tensor(noise.to_int64(self._tasks[wave.job.key].seed)))
            rows = self._per_row(noisy, lambda wave: torch.tensor(wave.row))
            indices = torch.cat([self._states[wave].indices for wave in noisy])
            every = noise.step_noise(seeds, indices, rows, self.shape)
            drawn = dict(zip(noisy, every.split([wave.count for wave in noisy]), strict=True))
        return torch.cat([drawn[wave] if wave in drawn else torch.zeros_like(self._states[wave].x) for wave in waves])

    def _advance(self, waves: list[Wave], x: Tensor, x0: Tensor) -> list[Step]:
        """Stores the step's results in the waves' states, and drops finished waves."""
        self._scheduler.advance()
        sizes, steps = [wave.count for wave in waves], list[Step]()
        for wave, wave_x, wave_x0 in zip(waves, x.split(sizes), x0.split(sizes), strict=True):
            state, task = self._states[wave], self._tasks[wave.job.key]
            state.x, state.x0 = wave_x, wave_x0
            timestep = int(task.table.timesteps[wave.row - 1])
            steps.append(Step(task, wave.first, wave.row, timestep, int(wave.evaluations), wave_x0))
        self._forget_finished()
        return steps

    def _forget_finished(self) -> None:
        """Drops the tensors of waves, and the tasks, that the scheduler no longer holds."""
        self._states = {wave: self._states[wave] for wave in self._scheduler.waves if wave in self._states}
        keys = self._scheduler.keys
        self._tasks = {key: task for key, task in self._tasks.items() if key in keys}

    def _table(self, wave: Wave) -> Table:
        return self._tasks[wave.job.key].table

    def _per_row(self, waves: list[Wave], of: Callable[[Wave], Tensor]) -> Tensor:
        """One value per wave, repeated for each of its rows; moved to the network's device in one copy."""
        values = torch.stack([of(wave) for wave in waves])
        sizes = torch.tensor([wave.count for wave in waves])
        return values.repeat_interleave(sizes, dim=0).to(self.network.device, non_blocking=True)
