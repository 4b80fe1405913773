"""Helpers of commands for checkpoints: find, load with an error message on failure, sample with a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from noisemill.cli.console import progress_bar, stop
from noisemill.cli.options import CHECKPOINTS

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.schema import JobSpec
    from model.data import Dataset, Split
    from worker.catalog import Model


def find(model: Path) -> Path:
    """The folder of a model given by path, or by name under checkpoints/."""
    return model if model.is_dir() else CHECKPOINTS / model


def unused_path(models: Path, name: str, overwrite: bool) -> Path:
    """The folder of a new model; stops if it exists and may not be replaced."""
    target = models / name
    if target.exists() and not overwrite:
        stop(f"{target} exists: replace it with --overwrite, or choose another name with --name")
    return target


def load(model: Path, device: str | None) -> Model:
    from model.checkpoint import CheckpointError
    from model.hardware import default_device
    from worker import offline

    try:
        return offline.load(find(model), default_device(device))
    except CheckpointError as error:
        stop(str(error))


def load_data(model: Model, source: str | None, root: Path | None, split: Split) -> Dataset:
    """The training or held-out images of a model."""
    from model import data

    try:
        return data.load(source or model.card.data["source"], root=root, split=split, size=model.card.image_size)
    except data.DataError as error:
        stop(f"{error}; name other data with --source")


def sample(model: Model, spec: JobSpec) -> Tensor:
    """The images of a spec, uint8 (N, C, H, W)."""
    from worker import offline

    with progress_bar("sampling", spec.count * spec.steps) as advance:
        return offline.sample(model, spec, advance)
