"""Recipes: one TOML file that says how a model is trained."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model.data import Dataset
from model.schedule import Schedule
from model.unet import UNetConfig


class RecipeError(Exception):
    """The recipe cannot be followed; the message names the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One optimiser step is one batch. The learning rate warms up, then falls to 0 along a half cosine."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.0
    grad_clip: float = 1.0  # of the gradient's norm
    ema_decay: float = 0.999
    class_dropout: float = 0.1  # share of images trained without their class (Ho & Salimans 2022)
    min_snr_gamma: float | None = None  # weighs timesteps (Hang et al. 2023, who take 5); none: all alike
    seed: int = 0
    checkpoint_every: int = 500  # steps
    compile: bool = True  # where there is a compiler; a step is faster by half, the first is slower by a minute

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.class_dropout < 1:
            raise ValueError("class_dropout must be in [0, 1)")
        if self.min_snr_gamma is not None and not self.min_snr_gamma > 0:
            raise ValueError("min_snr_gamma must be greater than 0")


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
    guidance_scale: float = 1.0  # what the card will recommend

    def __post_init__(self) -> None:
        if self.training.min_snr_gamma is not None and self.schedule.rescale_betas_zero_snr:
            raise ValueError("min_snr_gamma gives the last timestep no weight under rescale_betas_zero_snr: drop one")

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """Raises RecipeError where the file is absent, not TOML, or holds what no recipe has."""
        try:
            values = tomllib.loads(path.read_text())
            sections = {"data": Data, "training": Training, "schedule": Schedule}
            built = {name: _build(kind, values.get(name, {})) for name, kind in sections.items()}
            recipe: Recipe = _build(cls, {"name": path.stem, **values, **built})
        except (OSError, tomllib.TOMLDecodeError, ValueError, TypeError) as error:
            raise RecipeError(f"recipe {path}: {error}") from error
        return recipe

    def unet_config(self, data: Dataset) -> UNetConfig:
        """The network for this data: every class, and the null class after them."""
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


def _build(kind: type, values: dict[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(kind)]
    for name in values:
        if name not in known:
            raise ValueError(f"unknown field {name!r} for {kind.__name__}; known: {', '.join(known)}")
    return kind(**values)
