"""The trainer: Ho et al. 2020, algorithm 1, resumable to the last bit.

Every step's randomness is seeded by the step's number, so the state to keep is the weights, their average,
the optimiser's moments and that number. Several processes (torchrun) draw the same batch and take turns at its images,
so that together they learn what one would.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Generator
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model import checkpoint, figures, images, run_log, samplers
from model.cores import Cores
from model.data import Dataset
from model.ema import EMA
from model.hardware import can_compile, compile_options, compiling, default_device, has_bf16, keep_freed_memory
from model.recipe import Precision, Recipe
from model.run_log import Report, RunLog
from model.unet import UNet

STATE = "state.safetensors"
SAMPLE_STEPS = 50  # of the grid that is drawn at every checkpoint
SAMPLE_COUNT = 64


class TrainingError(Exception):
    """The training cannot start or go on; the message says what to do."""


class Trainer:
    """Trains `recipe` on `data`, keeping everything in the folder `run`.

    run/state.safetensors   what a resume needs
    run/metrics.jsonl       a line a step; run/events.out.* say the same to TensorBoard
    run/loss.png, run/samples.png, run/checkpoint/   as of the last checkpoint
    """

    def __init__(self, recipe: Recipe, data: Dataset, run: Path, *, device: str | None = None) -> None:
        self.recipe, self.data, self.run = recipe, data, run
        self.device = default_device(device)
        if len(data) < recipe.training.batch_size:
            raise TrainingError(
                f"{data.source} holds {len(data)} images, fewer than a batch of {recipe.training.batch_size}: "
                "add images or lower batch_size"
            )
        keep_freed_memory()
        torch.manual_seed(recipe.training.seed)
        config = recipe.unet_config(data)
        self.unet = UNet(config).to(self.device).to(memory_format=torch.channels_last)
        self.ema = EMA(self.unet, UNet(config).to(self.device), recipe.training.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.unet.parameters(),
            lr=recipe.training.learning_rate,
            weight_decay=recipe.training.weight_decay,
            fused=True,
        )
        self.dtype = _autocast_dtype(recipe.training.precision, self.device)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
        self.steps = recipe.training.steps_on(len(data))
        self.rank, self.processes = 0, 1
        if dist.is_initialized():
            self.rank, self.processes = dist.get_rank(), dist.get_world_size()
        if recipe.training.batch_size % self.processes:
            raise TrainingError(
                f"a batch of {recipe.training.batch_size} does not divide by {self.processes} processes"
            )
        self.step = 0
        self.best = math.inf  # loss of the best checkpoint
        self.seconds = 0.0  # spent training, over all resumes

    @property
    def state_path(self) -> Path:
        return self.run / STATE

    @property
    def result(self) -> Path:
        """The checkpoint to keep."""
        return self.run / ("best" if self.recipe.training.keep_best else "checkpoint")

    def resume(self) -> None:
        """Goes back to the last checkpoint of this run. Raises TrainingError where there is none, or another's."""
        try:
            with safe_open(self.state_path, "pt", device=str(self.device)) as file:
                metadata = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{self.run} holds nothing to resume ({error}): start without --resume") from error
        if metadata["recipe"] != repr(self.recipe):
            raise TrainingError(f"{self.run} was started with another recipe: start without --resume, or elsewhere")
        for network, prefix in ((self.unet, "unet."), (self.ema.average, "ema.")):
            network.load_state_dict(_under(tensors, prefix))
        for i, parameter in enumerate(self.unet.parameters()):
            # The fused optimiser walks memory, so moments must lie there as the weights do: channels last.
            self.optimizer.state[parameter] = {
                name: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                for name, value in _under(tensors, f"optimizer.{i}.").items()
            }
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.best = float(metadata["best"])
        self.scaler.load_state_dict(json.loads(metadata["scaler"]))

    def train(self) -> Generator[Report, None, None]:
        """Takes the steps that are left, one a report. Stop whenever you like: `resume` takes them up."""
        settings = self.recipe.training
        network: nn.Module = self.unet
        if self.processes > 1:
            network = DistributedDataParallel(network)
        if settings.compile and can_compile() and self.step < self.steps:
            network = cast(nn.Module, torch.compile(network, options=compile_options(self.device)))
            compiling(lambda: self._backward(network))
            self.optimizer.zero_grad()
        log_context = closing(RunLog(self.run, self.step)) if self.rank == 0 else nullcontext()
        with log_context as log, closing(Cores()) as cores:
            clock = time.perf_counter()
            while self.step < self.steps:
                report = self._train_step(network, clock)
                cores.adapt()
                clock = time.perf_counter()
                if log is not None:
                    log.write(report)
                    if self.step % settings.checkpoint_every == 0 or self.step == self.steps:
                        log.flush()
                        self.checkpoint()
                        clock = time.perf_counter()
                yield report

    def seconds_a_step(self) -> float:
        """How long a step takes at the most: the second of two that are not compiled, and that change nothing."""
        for _ in range(2):
            clock = time.perf_counter()
            self._backward(self.unet)
            self.optimizer.zero_grad()
        return time.perf_counter() - clock

    def checkpoint(self) -> None:
        """Saves the averaged network as a checkpoint, its samples, the loss curve, and what a resume needs."""
        losses = run_log.losses(self.run)
        epoch = len(self.data) // self.recipe.training.batch_size
        (self.run / "loss.png").write_bytes(figures.loss_curve(losses, epoch))
        (self.run / "samples.png").write_bytes(images.png(self._sample_grid()))
        recent = losses[-min(len(losses), 1000) :]
        training = {
            "steps": self.step,
            "images": self.step * self.recipe.training.batch_size,
            "seconds": round(self.seconds),
            "loss": round(sum(recent) / len(recent), 5),
            "device": str(self.device.type),
            "recipe": json.loads(json.dumps(dataclasses.asdict(self.recipe.training))),
        }
        folder = self.run / "checkpoint"
        checkpoint.save(
            folder,
            self.ema.average,
            self.recipe.schedule,
            checkpoint.Card(
                created_at=datetime.now(UTC).isoformat(timespec="seconds"),
                classes=self.data.classes,
                guidance_scale=self.recipe.guidance_scale,
                sampler=self.recipe.sampler,
                steps=self.recipe.sampling_steps,
                data={"source": self.data.source, "images": len(self.data)},
                training=training,
            ),
        )
        (folder / checkpoint.FIGURES).mkdir()
        for name in ("loss.png", "samples.png"):
            shutil.copyfile(self.run / name, folder / checkpoint.FIGURES / name)
        lately = losses[-self.recipe.training.checkpoint_every :]
        if self.recipe.training.keep_best and sum(lately) / len(lately) < self.best:
            self.best = sum(lately) / len(lately)
            checkpoint.copy(folder, self.run / "best")
        # The state comes last: if this is cut short, a resume takes up the state before and does it all again.
        recipe = repr(self.recipe)
        metadata = {
            "step": str(self.step),
            "seconds": repr(self.seconds),
            "best": repr(self.best),
            "scaler": json.dumps(self.scaler.state_dict()),
            "recipe": recipe,
        }
        checkpoint.write_atomically(self.state_path, save(self._state(), metadata))

    def _train_step(self, network: nn.Module, clock: float) -> Report:
        settings = self.recipe.training
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._backward(network)
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        self.ema.update(self.step)
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(f"the loss is {value} at step {self.step}: lower learning_rate")
        seconds = time.perf_counter() - clock
        self.seconds += seconds
        return Report(self.step, value, rate, settings.batch_size / seconds)

    def _backward(self, network: nn.Module) -> Tensor:
        """The step's loss, whose gradients are left with the parameters."""
        torch.manual_seed(_mix(self.recipe.training.seed, self.step))
        x0, labels = self._batch()
        t = torch.randint(self.recipe.schedule.num_train_timesteps, (len(x0),), device=self.device)
        noise = torch.randn_like(x0)
        # The whole batch is drawn in every process; each takes its own images, in parts where they are accumulated.
        count = self.recipe.training.accumulate
        batch = (x0, t, noise) if labels is None else (x0, t, noise, labels)
        drawn = [tensor[self.rank :: self.processes].tensor_split(count) for tensor in batch]
        total = torch.zeros((), device=self.device)
        for i, part in enumerate(zip(*drawn, strict=True)):
            share = len(part[0]) * self.processes / len(x0)
            # Processes exchange their gradients with the last part alone.
            apart = nullcontext if i == count - 1 else getattr(network, "no_sync", nullcontext)
            with apart():
                loss = share * self._loss(network, *part)
                self.scaler.scale(loss).backward()
            total += loss.detach()
        if self.processes > 1:
            dist.all_reduce(total)
            total /= self.processes
        return total

    def _loss(self, network: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        """The mean squared error (Ho et al. 2020, eq. 14), each image weighed by its timestep where the recipe asks."""
        schedule, gamma = self.recipe.schedule, self.recipe.training.min_snr_gamma
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            output = network(schedule.q_sample(x0, t, noise), t, labels).float()
        target = schedule.target(x0, t, noise)
        if gamma is None:
            return F.mse_loss(output, target)
        weights = schedule.min_snr_weights(gamma).float().to(t.device)[t]
        return (weights * (output - target).square().mean(dim=(1, 2, 3))).mean()

    def _learning_rate(self) -> float:
        settings = self.recipe.training
        warm = min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        rate = settings.learning_rate * warm
        if settings.learning_rate_schedule == "constant":
            return rate
        return rate * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))

    def _batch(self) -> tuple[Tensor, Tensor | None]:
        """The step's images (B, C, H, W) and labels (B,): every image once an epoch, in an order of its own."""
        settings = self.recipe.training
        per_epoch = len(self.data) // settings.batch_size
        epoch, position = divmod(self.step, per_epoch)
        generator = torch.Generator().manual_seed(_mix(settings.seed, -1 - epoch))
        order = torch.randperm(len(self.data), generator=generator)
        chosen = order[position * settings.batch_size : (position + 1) * settings.batch_size]
        x0 = images.from_uint8(self.data.images[chosen]).to(self.device, memory_format=torch.channels_last)
        if self.data.labels is None:
            return x0, None
        labels = self.data.labels[chosen].to(self.device)
        dropped = torch.rand(len(labels), device=self.device) < settings.class_dropout
        return x0, torch.where(dropped, len(self.data.classes), labels)

    def _sample_grid(self) -> Tensor:
        """Samples of the averaged network, the classes in turn; always the same noise, so grids compare."""
        labels = None
        if self.data.labels is not None:
            labels = torch.arange(SAMPLE_COUNT, device=self.device) % len(self.data.classes)
        rows = samplers.table("ddpm", self.recipe.schedule, min(SAMPLE_STEPS, self.recipe.schedule.num_train_timesteps))
        *_, x0 = samplers.sample(self.ema.average, rows, seed=0, count=SAMPLE_COUNT, labels=labels)
        return images.grid(images.to_uint8(x0).cpu())

    def _state(self) -> dict[str, Tensor]:
        state = {f"unet.{name}": tensor for name, tensor in self.unet.state_dict().items()}
        state |= {f"ema.{name}": tensor for name, tensor in self.ema.average.state_dict().items()}
        for i, parameter in enumerate(self.unet.parameters()):
            state |= {f"optimizer.{i}.{name}": value for name, value in self.optimizer.state[parameter].items()}
        return {name: tensor.contiguous() for name, tensor in state.items()}


def _autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}[precision]


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _mix(seed: int, step: int) -> int:
    """One seed from two numbers; steps are positive, epochs negative."""
    return (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9) % (1 << 63)
