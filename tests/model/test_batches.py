"""Training batches: epochs and class dropout."""

from __future__ import annotations

import torch

from model import data
from model.data import Dataset
from model.training.batches import Batches
from tests.model.tiny_training import recipe

CPU = torch.device("cpu")


def test_batches_use_each_image_once_per_epoch_in_a_new_order() -> None:
    """35 images make two batches of 16; each epoch omits three images."""
    numbered = torch.arange(35, dtype=torch.uint8).view(35, 1, 1, 1).expand(35, 1, 8, 8)
    batches = Batches(Dataset("numbers", numbered, None, ()), recipe(batch_size=16).training, CPU)
    epochs = []
    for epoch in (0, 1):
        seen = []
        for step in (2 * epoch, 2 * epoch + 1):
            x0, labels = batches.at(step)
            seen += ((x0[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
            assert labels is None
        assert len(set(seen)) == len(seen) == 32
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_class_dropout_replaces_its_share_of_labels_by_the_null_class() -> None:
    """Ho & Salimans 2022, algorithm 1. The null class is the one after the last."""
    batches = Batches(data.load("digits"), recipe(batch_size=1024, class_dropout=0.25).training, CPU)
    torch.manual_seed(0)
    _, labels = batches.at(0)
    assert labels is not None
    share = (labels == 10).float().mean().item()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 1024) ** 0.5
