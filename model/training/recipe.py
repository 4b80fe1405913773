"""Recipes: how a model is trained, in one TOML file."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from model.data import Dataset
from model.networks.unet import UNetConfig
from model.sampling.samplers import SAMPLERS
from model.sampling.schedule import Schedule

LearningRateSchedule = Literal["cosine", "constant"]
Precision = Literal["auto", "bf16", "fp16", "float32"]
MIN_IMAGES = 16
ATTENTION_SIDE = 8  # maximum side of the lowest level, which has attention


class RecipeError(Exception):
    """The recipe is invalid; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Settings of AdamW (Adam if weight_decay is 0). One optimiser step is one batch."""

    steps: int | None = None  # either steps
    epochs: int | None = None  # or epochs
    batch_size: int = 64
    accumulate: int = 1  # parts of a batch whose gradients are summed, to save memory
    learning_rate: float = 1e-3
    learning_rate_schedule: LearningRateSchedule = "cosine"  # cosine: half a cosine to 0, times the warm-up
    warmup_steps: int = 200
    weight_decay: float = 0.0
    grad_clip: float = 1.0  # maximum norm of the gradient
    ema_decay: float = 0.999
    class_dropout: float = 0.1  # share of labels replaced by the null class (Ho & Salimans 2022)
    min_snr_gamma: float | None = None  # loss weights by timestep (Hang et al. 2023, who use 5); None: no weights
    precision: Precision = "auto"  # auto: bf16 if the hardware multiplies it, else float32
    seed: int = 0
    checkpoint_every: int = 500  # steps
    keep_best: bool = False  # keep the checkpoint with the lowest mean loss since its predecessor
    compile: bool = True  # needs a C++ compiler; a step takes two thirds of the time, the first one a minute more

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give either steps or epochs")
        for name in ("steps", "epochs", "batch_size", "accumulate", "checkpoint_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate must be at most batch_size, {self.batch_size}")
        for name, kind in (("learning_rate_schedule", LearningRateSchedule), ("precision", Precision)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of {get_args(kind)}")
        if not 0 <= self.class_dropout < 1:
            raise ValueError("class_dropout must be in [0, 1)")
        if self.min_snr_gamma is not None and not self.min_snr_gamma > 0:
            raise ValueError("min_snr_gamma must be greater than 0")

    def steps_on(self, images: int) -> int:
        """The number of optimiser steps for a data set of `images` images."""
        return self.steps if self.steps is not None else (self.epochs or 0) * (images // self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    source: str
    size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """`unet` holds UNetConfig's fields; size, channels and the number of classes come from the data."""

    name: str
    data: Data
    training: Training
    schedule: Schedule = field(default_factory=Schedule)
    unet: dict[str, Any] = field(default_factory=dict)
    guidance_scale: float = 1.0  # this and the next two become the card's recommendation
    sampler: str = "ddpm"
    sampling_steps: int | None = None  # None: the schedule's num_train_timesteps

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ValueError(f"sampler {self.sampler!r} is not one of {', '.join(SAMPLERS)}")
        timesteps = self.schedule.num_train_timesteps
        if self.sampling_steps is not None and not 1 <= self.sampling_steps <= timesteps:
            raise ValueError(f"sampling_steps must be 1 to {timesteps}")
        if self.training.min_snr_gamma is not None and self.schedule.rescale_betas_zero_snr:
            raise ValueError("min_snr_gamma gives the last timestep no weight under rescale_betas_zero_snr: remove one")

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Reads a recipe. Raises RecipeError if the file is absent or not TOML, or if a field is unknown or invalid."""
        try:
            values = tomllib.loads(path.read_text())
            sections = {"data": Data, "training": Training, "schedule": Schedule}
            built = {name: _build(kind, values.get(name, {})) for name, kind in sections.items()}
            recipe: Recipe = _build(cls, {"name": path.stem, **values, **built})
        except (OSError, tomllib.TOMLDecodeError, ValueError, TypeError) as error:
            raise RecipeError(f"recipe {path}: {error}") from error
        return recipe

    def unet_config(self, data: Dataset) -> UNetConfig:
        """The network for this data, whose last class embedding is the null class. Raises RecipeError."""
        _, channels, size, _ = data.images.shape
        lists: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.unet.items()
        }
        try:
            return UNetConfig(
                sample_size=size,
                in_channels=channels,
                out_channels=channels,
                num_class_embeds=len(data.classes) + 1 if data.labels is not None else None,
                **lists,
            )
        except (ValueError, TypeError) as error:
            raise RecipeError(f"recipe {self.name}, [unet]: {error}") from error


def automatic(name: str, source: str, size: int | None, data: Dataset, device: str) -> Recipe:
    """A recipe for the user's own images: levels by image size, channels by device, steps by number of images.

    Raises RecipeError if there are too few images, or if their side is not divisible by the downsampling.
    """
    count, channels, side, _ = data.images.shape
    if count < MIN_IMAGES:
        raise RecipeError(f"{data.source} holds {count} images: at least {MIN_IMAGES} are needed, hundreds are better")
    halvings = max(1, math.ceil(math.log2(side / ATTENTION_SIDE)))
    stride = 2**halvings
    if side % stride:
        nearest = max(1, round(side / stride)) * stride
        raise RecipeError(f"images of {side} × {side} cannot be halved {halvings} times: give --size {nearest}")
    base = 32 if device == "cpu" else 64 if channels == 1 else 128
    widths = [base * min(2**level, 4) for level in range(halvings + 1)]
    images_seen = min(max(30 * count, 250_000), 1_000_000)
    batch_size = min(64, count)
    return Recipe(
        name=name,
        data=Data(source=source, size=size),
        training=Training(steps=images_seen // batch_size, batch_size=batch_size, class_dropout=0.2, min_snr_gamma=5.0),
        unet={
            "block_out_channels": widths,
            "down_block_types": ["DownBlock2D"] * halvings + ["AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D"] + ["UpBlock2D"] * halvings,
        },
        guidance_scale=1.5 if data.labels is not None else 1.0,
        sampler="dpmpp_2m",
        sampling_steps=50,
    )


def _build(kind: type, values: dict[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown field {name!r} for {kind.__name__}; known: {', '.join(known)}")
    return kind(**values)
