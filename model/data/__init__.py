"""The data sets that models are trained on: named ones, and images of the user's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.data import named, own_images
from model.data.dataset import SPLITS, DataError, Dataset, Split

__all__ = ["SPLITS", "DataError", "Dataset", "Split", "load"]


def load(source: str, *, root: Path | None = None, split: Split = "train", size: int | None = None) -> Dataset:
    """The data set named `source` (one of `named.SOURCES`, or a folder or ZIP), at `size` × `size` pixels where given.

    Without `root`, torchvision downloads into data/. Raises DataError where there is nothing to read.
    """
    if source in named.SOURCES:
        dataset = named.SOURCES[source](root, split)
        return dataset if size is None or size == dataset.images.shape[-1] else _resized(dataset, size)
    if Path(source).exists():
        return own_images.load(Path(source), split, size)
    raise DataError(
        f"no data set {source!r}: it is neither one of {sorted(named.SOURCES)} nor a folder or ZIP that exists"
    )


def _resized(dataset: Dataset, size: int) -> Dataset:
    from torchvision.transforms.v2 import functional

    resized = functional.resize(dataset.images, [size, size], antialias=True)
    return replace(dataset, images=resized)
