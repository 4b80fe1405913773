"""A data set in memory, as one uint8 tensor: small images fit, and their order is exact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

Split = Literal["train", "test"]
SPLITS: tuple[Split, Split] = "train", "test"


class DataError(Exception):
    """The data cannot be read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """images: uint8 (N, C, H, W); labels: int64 (N,), indices into `classes`, or None without classes.

    skipped  unreadable files of both splits
    """

    source: str
    images: Tensor
    labels: Tensor | None
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def select(self, chosen: Tensor) -> Dataset:
        """The images at the indices `chosen`, or where the boolean mask `chosen` is true."""
        labels = None if self.labels is None else self.labels[chosen]
        return replace(self, images=self.images[chosen], labels=labels)
