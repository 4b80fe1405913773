"""The trainer: Ho et al. 2020, algorithm 1, resumable to the last bit.

Each step seeds its random numbers with the step's number, so the resume state is the weights, their average, the
optimiser's moments and that number. Under torchrun every process draws the whole batch and trains on its share of the
images, so that the gradients are those of a single process.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Generator, Sequence
from contextlib import closing, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model import checkpoint, images
from model.checkpoint import Card
from model.cores import Cores
from model.data import Dataset
from model.evaluation import figures
from model.hardware import can_compile, compile_options, compiling, default_device, has_bf16, keep_freed_memory
from model.networks.unet import UNet
from model.sampling import samplers
from model.training import loss, run_log, state
from model.training.batches import Batches, mix_seed
from model.training.ema import EMA
from model.training.recipe import Precision, Recipe
from model.training.run_log import Report, RunLog

SAMPLE_STEPS = 50  # sampling steps of the grid drawn at every checkpoint
SAMPLE_COUNT = 64  # images of that grid
LOSS_STEPS = 1000  # the card reports the mean loss of this many last steps


class TrainingError(Exception):
    """The training cannot start or continue; the message gives the remedy."""


class Trainer:
    """Trains `recipe` on `data` and writes to the folder `run`.

    run/state.safetensors                            the resume state
    run/metrics.jsonl                                one line per step; run/events.out.* hold the same for TensorBoard
    run/loss.png, run/samples.png, run/checkpoint/   as of the last checkpoint

    Raises TrainingError if the batch size does not fit the data, or the number of processes or parts.
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
        self.batches = Batches(data, recipe.training, self.device)
        self.rank, self.processes = 0, 1
        if dist.is_initialized():
            self.rank, self.processes = dist.get_rank(), dist.get_world_size()
        if recipe.training.batch_size % self.processes:
            raise TrainingError(
                f"a batch of {recipe.training.batch_size} cannot be divided among {self.processes} processes: "
                f"set batch_size to a multiple of {self.processes}"
            )
        images_per_process = recipe.training.batch_size // self.processes
        if recipe.training.accumulate > images_per_process:
            raise TrainingError(
                f"accumulate is {recipe.training.accumulate}, but a process takes {images_per_process} images of a "
                f"batch of {recipe.training.batch_size}: set accumulate to at most {images_per_process}"
            )
        self.step = 0
        self.loss = 0.0  # loss of the last step
        self.best = math.inf  # loss of the best checkpoint
        self.seconds = 0.0  # training time, summed over all resumes

    @property
    def state_path(self) -> Path:
        return self.run / state.STATE

    @property
    def result(self) -> Path:
        """The checkpoint to keep."""
        return self.run / ("best" if self.recipe.training.keep_best else "checkpoint")

    def resume(self) -> None:
        """Restores the last saved state of this run. Raises TrainingError if there is none or its recipe differs."""
        try:
            tensors, metadata = state.read(self.state_path, self.device)
        except (OSError, SafetensorError) as error:
            raise TrainingError(f"{self.run} holds nothing to resume ({error}): start without --resume") from error
        if not state.is_same_recipe(metadata["recipe"], self.recipe):
            raise TrainingError(
                f"{self.run} was started with another recipe: start without --resume, or in another folder"
            )
        state.restore(tensors, self.unet, self.ema.average, self.optimizer)
        self.step, self.seconds = int(metadata["step"]), float(metadata["seconds"])
        self.best = float(metadata["best"])
        self.scaler.load_state_dict(json.loads(metadata["scaler"]))

    def train(self) -> Generator[Report, None, None]:
        """Runs the remaining steps and yields a report after each. Can be stopped at any time and resumed."""
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
                if self.device.type == "cpu":
                    cores.adapt()
                clock = time.perf_counter()
                if log is not None:
                    log.write(report)
                    if self.step % settings.checkpoint_every == 0 or self.step == self.steps:
                        log.flush()
                        self.checkpoint()
                        clock = time.perf_counter()
                yield report

    def seconds_per_step(self) -> float:
        """An upper bound for the time of a step, measured without compilation; changes no weights."""
        for _ in range(2):
            clock = time.perf_counter()
            self._backward(self.unet)
            self.optimizer.zero_grad()
        return time.perf_counter() - clock

    def checkpoint(self) -> None:
        """Saves the averaged network as a checkpoint, its samples, the loss curve and the resume state.

        Raises TrainingError if the loss or a weight is not finite; the last saved files then stay.
        """
        tensors = state.collect(self.unet, self.ema.average, self.optimizer)
        if not math.isfinite(self.loss) or not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise TrainingError(
                f"not saved: the loss or a weight is not finite at step {self.step}: lower learning_rate"
            )
        losses = run_log.losses(self.run)
        self._write_figures(losses)
        folder = self.run / "checkpoint"
        checkpoint.save(folder, self.ema.average, self.recipe.schedule, self._card(losses))
        (folder / checkpoint.FIGURES).mkdir()
        for name in ("loss.png", "samples.png"):
            shutil.copyfile(self.run / name, folder / checkpoint.FIGURES / name)
        latest = losses[-self.recipe.training.checkpoint_every :]
        if self.recipe.training.keep_best and sum(latest) / len(latest) < self.best:
            self.best = sum(latest) / len(latest)
            checkpoint.copy(folder, self.run / "best")
        # The state is written last: after a crash before that, a resume repeats the steps since the previous state.
        metadata = {
            "step": str(self.step),
            "seconds": repr(self.seconds),
            "best": repr(self.best),
            "scaler": json.dumps(self.scaler.state_dict()),
            "recipe": state.recipe_json(self.recipe),
        }
        checkpoint.write_atomically(self.state_path, save(tensors, metadata))

    def _train_step(self, network: nn.Module, clock: float) -> Report:
        settings = self.recipe.training
        rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.loss = self._backward(network).item()
        if not math.isfinite(self.loss):  # checked before the update, which would spread it to all weights
            raise TrainingError(f"the loss is {self.loss} at step {self.step + 1}: lower learning_rate")
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.unet.parameters(), settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.step += 1
        self.ema.update(self.step)
        seconds = time.perf_counter() - clock
        self.seconds += seconds
        return Report(self.step, self.loss, rate, settings.batch_size / seconds)

    def _backward(self, network: nn.Module) -> Tensor:
        """The step's loss; its gradients accumulate in the parameters."""
        torch.manual_seed(mix_seed(self.recipe.training.seed, self.step))
        x0, labels = self.batches.at(self.step)
        t = torch.randint(self.recipe.schedule.num_train_timesteps, (len(x0),), device=self.device)
        noise = torch.randn_like(x0)
        # Every process draws the whole batch and takes its share, split into parts whose gradients accumulate.
        count = self.recipe.training.accumulate
        batch = (x0, t, noise) if labels is None else (x0, t, noise, labels)
        drawn = [tensor[self.rank :: self.processes].tensor_split(count) for tensor in batch]
        total = torch.zeros((), device=self.device)
        for i, part in enumerate(zip(*drawn, strict=True)):
            share = len(part[0]) * self.processes / len(x0)
            # Processes exchange their gradients once, with the last part.
            synchronisation = nullcontext if i == count - 1 else getattr(network, "no_sync", nullcontext)
            with synchronisation():
                part_loss = share * self._loss(network, *part)
                self.scaler.scale(part_loss).backward()
            total += part_loss.detach()
        if self.processes > 1:
            dist.all_reduce(total)
            total /= self.processes
        return total

    def _loss(self, network: nn.Module, x0: Tensor, t: Tensor, noise: Tensor, labels: Tensor | None = None) -> Tensor:
        schedule = self.recipe.schedule
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32):
            output = network(schedule.q_sample(x0, t, noise), t, labels).float()
        target = schedule.target(x0, t, noise)
        return loss.weighted_mse(output, target, t, schedule, self.recipe.training.min_snr_gamma)

    def _learning_rate(self) -> float:
        settings = self.recipe.training
        warm = min(1.0, (self.step + 1) / max(1, settings.warmup_steps))
        rate = settings.learning_rate * warm
        if settings.learning_rate_schedule == "constant":
            return rate
        return rate * 0.5 * (1 + math.cos(math.pi * self.step / self.steps))

    def _card(self, losses: Sequence[float]) -> Card:
        recent = losses[-LOSS_STEPS:]
        training = {
            "steps": self.step,
            "images": self.step * self.recipe.training.batch_size,
            "seconds": round(self.seconds),
            "loss": round(sum(recent) / len(recent), 5),
            "loss_weighting": loss.weighting(self.recipe.training.min_snr_gamma),
            "device": str(self.device.type),
            "recipe": json.loads(json.dumps(dataclasses.asdict(self.recipe.training))),
        }
        return Card(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            classes=self.data.classes,
            guidance_scale=self.recipe.guidance_scale,
            sampler=self.recipe.sampler,
            steps=self.recipe.sampling_steps,
            data={"source": self.data.source, "images": len(self.data)},
            training=training,
        )

    def _write_figures(self, losses: Sequence[float]) -> None:
        weighting = loss.weighting(self.recipe.training.min_snr_gamma)
        curve = figures.loss_curve(losses, self.batches.per_epoch, weighting=weighting)
        (self.run / "loss.png").write_bytes(curve)
        (self.run / "samples.png").write_bytes(images.png(self._sample_grid()))

    def _sample_grid(self) -> Tensor:
        """Samples of the averaged network, cycling through the classes, from the same noise every time."""
        labels = None
        if self.data.labels is not None:
            labels = torch.arange(SAMPLE_COUNT, device=self.device) % len(self.data.classes)
        rows = samplers.table("ddpm", self.recipe.schedule, min(SAMPLE_STEPS, self.recipe.schedule.num_train_timesteps))
        *_, x0 = samplers.sample(self.ema.average, rows, seed=0, count=SAMPLE_COUNT, labels=labels)
        return images.grid(images.to_uint8(x0).cpu())


def _autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    if precision == "auto":
        return torch.bfloat16 if has_bf16(device) else torch.float32
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "float32": torch.float32}[precision]
