"""Training data: named data sets, and folders or ZIPs of the user's own images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.data import named, own_images
from model.data.dataset import SPLITS, DataError, Dataset, Split

__all__ = ["SPLITS", "DataError", "Dataset", "Split", "load"]


def load(source: str, *, root: Path | None = None, split: Split = "train", size: int | None = None) -> Dataset:
    """Loads a data set.

    source  a name in `named.SOURCES`, or the path of a folder or ZIP
    root    folder of the named data sets; without it torchvision downloads them into data/
    size    resizes the images to `size` × `size` pixels
    Raises DataError if the data cannot be read.
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
