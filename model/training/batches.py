"""Training batches: a shuffled pass over the data per epoch, as a function of seed and step only."""

from __future__ import annotations

import torch
from torch import Tensor

from model import images
from model.data import Dataset
from model.training.recipe import Training


class Batches:
    """The batches of a run. Images that do not fill the last batch of an epoch are omitted from that epoch."""

    def __init__(self, data: Dataset, settings: Training, device: torch.device) -> None:
        self._data, self._settings, self._device = data, settings, device
        self.per_epoch = len(data) // settings.batch_size

    def at(self, step: int) -> tuple[Tensor, Tensor | None]:
        """Images (B, C, H, W) in [-1, 1] and labels (B,) of a step; labels are None for data without classes.

        Class dropout draws from torch's global generator: seed it before the call.
        """
        data, chosen = self._data, self._indices(step)
        x0 = images.from_uint8(data.images[chosen]).to(self._device, memory_format=torch.channels_last)
        if data.labels is None:
            return x0, None
        labels = data.labels[chosen].to(self._device)
        dropped = torch.rand(len(labels), device=self._device) < self._settings.class_dropout
        return x0, torch.where(dropped, len(data.classes), labels)

    def _indices(self, step: int) -> Tensor:
        """The indices (B,) of a step's images within the data."""
        epoch, position = divmod(step, self.per_epoch)
        generator = torch.Generator().manual_seed(mix_seed(self._settings.seed, -1 - epoch))
        order = torch.randperm(len(self._data), generator=generator)
        size = self._settings.batch_size
        return order[position * size : (position + 1) * size]


def mix_seed(seed: int, number: int) -> int:
    """One 63-bit seed from two numbers. `number` is a step (from 0), or -1 - epoch, so that the two never collide."""
    return (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9) % (1 << 63)
