"""The reference on digits: held-out images, noise and copies as samples."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from model import images
from model.data import Dataset
from model.evaluation.reference import Reference
from tests.model.conftest import QUICK


def test_held_out_images_compare_as_real(reference: Reference) -> None:
    """Held-out digits as samples: recognised, no copies, and as near to the training images as themselves."""
    figures = reference.compare(images.from_uint8(reference.test.images), reference.test.labels)
    assert figures["samples"] == 360
    assert figures["recognised"] > 0.9
    assert reference.accuracy is not None
    assert figures["accuracy"] == round(reference.accuracy, 4) > 0.95
    low, high = figures["accuracy_interval"]
    assert low < figures["accuracy"] < high
    assert figures["frechet"]["images"] == 287, "a fifth of the training images, held out from the classifier"
    assert figures["frechet"]["distance"] < figures["frechet"]["as_many_training_images"]["distance"]
    assert figures["precision"] == 1
    assert figures["recall"] > 0.95
    distances = figures["nearest_training_distance"]
    assert distances == figures["held_out_nearest_training_distance"]
    assert 0 < distances["min"] <= distances["1%"] < distances["median"]
    assert figures["identical_to_training"] == 0
    low, high = figures["nearer_than_1%_of_held_out_interval"]
    assert low < 0.01 < high
    low, high = figures["nearer_than_1%_of_held_out_by_chance"]
    assert low < 0.01 < high


@pytest.mark.parametrize("order", ["alternating", "sorted"])
def test_order_of_classes_in_the_data_does_not_matter(
    order: str, split_digits: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    """Holding out every fifth image would remove whole classes where classes alternate."""
    train, test = split_digits
    assert train.labels is not None
    by_class = [(train.labels == label).nonzero()[:100, 0] for label in range(10)]
    arranged = torch.stack(by_class, dim=int(order == "alternating")).flatten()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.evaluation.classifier.STEPS", QUICK)
        reference = Reference(train.select(arranged), test, tmp_path)
    assert reference.accuracy is not None
    assert reference.accuracy > 0.9


def test_noise_is_far_from_real_images(reference: Reference) -> None:
    figures = reference.compare(torch.rand(280, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    frechet, kernel = figures["frechet"], figures["kernel"]
    assert frechet["interval"][0] > 10 * frechet["as_many_training_images"]["interval"][1]
    assert kernel["interval"][0] > 10 * kernel["as_many_training_images"]["interval"][1]
    assert figures["recall"] < 0.2


def test_copies_of_training_images_are_counted(reference: Reference) -> None:
    samples = torch.cat([reference.train.images[:3], reference.test.images[:4]])
    figures = reference.compare(images.from_uint8(samples))
    assert figures["identical_to_training"] == 3
    assert figures["nearest_training_distance"]["min"] == 0
    assert figures["held_out_nearest_training_distance"]["images"] == 360
    assert figures["nearer_than_1%_of_held_out"] >= 3 / 7
    by_chance = figures["nearer_than_1%_of_held_out_by_chance"]
    assert figures["nearer_than_1%_of_held_out_interval"][0] > by_chance[1], "above the interval expected by chance"


def test_samples_are_rounded_to_8_bits_before_comparison(reference: Reference) -> None:
    """A copy with noise below half a grey level still counts as a copy."""
    off = images.from_uint8(reference.train.images[:5]) + 0.003
    assert reference.compare(off)["identical_to_training"] == 5


def test_wrong_labels_are_not_recognised(reference: Reference) -> None:
    assert reference.test.labels is not None
    figures = reference.compare(images.from_uint8(reference.test.images), (reference.test.labels + 1) % 10)
    assert figures["recognised"] < 0.03
    assert figures["accuracy"] < 0.03


@pytest.mark.parametrize("count", [1, 2])
def test_compare_returns_plain_json(count: int, reference: Reference) -> None:
    figures = reference.compare(torch.zeros(count, 1, 8, 8), torch.arange(count))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    without = reference.compare(torch.zeros(count, 1, 8, 8))
    assert set(figures) - set(without) == {"accuracy", "accuracy_interval"}


def test_data_without_classes_has_training_distances_only(
    split_digits: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    unlabelled = [dataclasses.replace(split, labels=None, classes=()) for split in split_digits]
    reference = Reference(*unlabelled, tmp_path)
    figures = reference.compare(torch.zeros(2, 1, 8, 8))
    assert reference.accuracy is None
    assert "recognised" not in figures
    assert "frechet" not in figures
    assert figures["identical_to_training"] == 0


def test_no_held_out_images_gives_empty_summary(split_digits: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """A folder of fewer than ten images has no test split."""
    train, test = split_digits
    figures = Reference(train, test.select(torch.arange(0)), tmp_path).compare(torch.zeros(2, 1, 8, 8))
    assert figures["held_out_nearest_training_distance"] == {"images": 0}


def test_compare_refuses_integers_and_no_samples(reference: Reference) -> None:
    x = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="uint8"):
        reference.compare(x.to(torch.uint8))
    with pytest.raises(ValueError, match="one or more"):
        reference.compare(x[:0])
