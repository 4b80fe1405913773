"""A training of seconds: the recipe that the trainer's tests share."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch

from model import data
from model.data import Dataset
from model.sampling.schedule import Schedule
from model.training.recipe import Data, Recipe, Training
from model.training.run_log import METRICS

UNET: dict[str, Any] = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}
# Checkpoints are due at steps 6 and 12; the end of the run writes another.
SETTINGS = Training(steps=14, batch_size=16, warmup_steps=4, checkpoint_every=6, ema_decay=0.9, compile=False)
RECIPE = Recipe(
    name="tiny",
    data=Data(source="digits"),
    training=SETTINGS,
    schedule=Schedule(num_train_timesteps=20),
    unet=UNET,
)


def recipe(**training: Any) -> Recipe:
    """RECIPE with other training settings."""
    return dataclasses.replace(RECIPE, training=dataclasses.replace(SETTINGS, **training))


def few_digits() -> Dataset:
    """64 images: four batches per epoch, so that 14 steps reach the fourth epoch."""
    return data.load("digits").select(torch.arange(64))


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]
