"""The evaluation: figures whose answers are known exactly, and real images in the place of samples."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from model import images
from model.data import Dataset
from model.evaluation import evaluate
from model.evaluation.evaluate import Reference
from tests.model.conftest import QUICK


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_recognised() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.05, 0.95], [0.6, 0.4], [0.1, 0.9]])
    assert evaluate.recognised(probabilities) == 0.75  # all but the third; nine tenths is enough
    assert evaluate.recognised(probabilities, torch.tensor([0, 0, 0, 1])) == 0.5
    assert evaluate.recognised(probabilities, torch.tensor([0, 0, 0, 1]), confidence=0.5) == 0.75
    assert evaluate.accuracy(probabilities, torch.tensor([0, 0, 0, 1])) == 0.75


@given(st.data())
def test_wilson_is_scipys(draws: st.DataObject) -> None:
    count = draws.draw(st.integers(1, 10_000))
    hits = draws.draw(st.integers(0, count))
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert evaluate.wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_by_hand() -> None:
    """At a share of 0 it is [0, z² / (n + z²)]; at 1, its mirror image."""
    z2 = 1.959963984540054**2
    assert evaluate.wilson(0.0, 10) == pytest.approx((0.0, z2 / (10 + z2)))
    assert evaluate.wilson(1.0, 10) == pytest.approx((10 / (10 + z2), 1.0))


def test_distances_by_hand() -> None:
    train = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    train[1], train[2] = 10, 255
    samples = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    samples[1, 0, 0, 0], samples[2], samples[3, 0, 0] = 3, 255, 9
    # Equal; one pixel off by 3; equal to another; two pixels off by 1 and two by 10 or, nearer still, two by 9.
    distances = evaluate.nearest_training_distance(samples, train)
    torch.testing.assert_close(distances, torch.tensor([0.0, 3.0, 0.0, 162**0.5], dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_distances_are_those_written_out(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "CHUNK", chunk)
    samples, train = pixels(5, 3, 4, 4), pixels(23, 3, 4, 4, seed=1)
    expected = [min((a.double() - b.double()).norm().item() for b in train) for a in samples]
    ours = evaluate.nearest_training_distance(samples, train)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))


def test_a_distance_of_0_means_the_same_pixels() -> None:
    """Exactly: the smallest difference there is, in the brightest large picture, is a distance of 1."""
    train = torch.full((2, 3, 64, 64), 255, dtype=torch.uint8)
    nearly = train[:1].clone()
    nearly[0, 0, 0, 0] = 254
    assert evaluate.nearest_training_distance(train[:1], train).tolist() == [0.0]
    assert evaluate.nearest_training_distance(nearly, train).tolist() == [1.0]


def normal(count: int, mean: float, std: float, seed: int, dimensions: int = 4) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) * std + mean


def test_the_frechet_distance_of_gaussians_is_known() -> None:
    """Between N(a, s²) and N(b, r²) in each of F dimensions: F·((a - b)² + (s - r)²) (Dowson & Landau 1982)."""
    distance, error = evaluate.frechet(normal(20_000, 1.0, 2.0, seed=0), normal(20_000, 0.0, 1.0, seed=1))
    assert abs(distance - 4 * (1 + 1)) < 5 * error
    assert 0 < error < 0.2


def test_the_kernel_distance_is_0_of_one_law_and_more_of_two() -> None:
    real = normal(2000, 0.0, 1.0, seed=1)
    same, spread = evaluate.kernel(normal(2000, 0.0, 1.0, seed=0), real)
    assert abs(same) < 5 * spread
    other, spread = evaluate.kernel(normal(2000, 1.0, 1.0, seed=0), real)
    assert other > 10 * spread


def test_the_kernel_distances_error_is_no_smaller_than_it_is() -> None:
    """Beside how much the distance varies from one set of samples to the next."""
    real = normal(400, 0.0, 1.0, seed=1000)
    found = torch.tensor([evaluate.kernel(normal(200, 0.5, 1.0, seed=seed), real) for seed in range(30)])
    assert 0.8 * found[:, 0].std() < found[:, 1].mean() < 3 * found[:, 0].std()


def test_what_is_covered_is_near_enough() -> None:
    """Points on a line, one apart: each reaches to its third neighbour, and those outside by two."""
    line = torch.arange(10.0)[:, None]
    assert evaluate.covered(line + 0.4, line) == 1
    assert evaluate.covered(torch.tensor([[-2.9], [-3.1], [11.9], [12.1]]), line) == 0.5
    assert evaluate.covered(torch.tensor([[100.0]]), line) == 0
    # Real images that no sample is near are what recall counts.
    assert evaluate.covered(torch.cat([line, line + 1000]), line) == 0.5


def test_real_images_are_judged_as_real(reference: Reference) -> None:
    """Held-out digits in the place of samples: recognised, no copies, no further from themselves than others are."""
    figures = reference.compare(images.from_uint8(reference.test.images), reference.test.labels)
    assert figures["samples"] == 360
    assert figures["recognised"] > 0.9
    assert reference.accuracy is not None
    assert figures["accuracy"] == round(reference.accuracy, 4) > 0.95
    low, high = figures["accuracy_interval"]
    assert low < figures["accuracy"] < high
    assert figures["frechet"]["images"] == 287, "a fifth of the training images, which the classifier has not seen"
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


@pytest.mark.parametrize("order", ["in turn", "sorted"])
def test_the_order_of_the_data_does_not_matter(
    order: str, split_digits: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    """A stride through classes that come in turn would show the classifier some of them and never the others."""
    train, test = split_digits
    assert train.labels is not None
    by_class = [(train.labels == label).nonzero()[:100, 0] for label in range(10)]
    arranged = torch.stack(by_class, dim=int(order == "in turn")).flatten()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.evaluation.classifier.STEPS", QUICK)
        reference = Reference(train.select(arranged), test, tmp_path)
    assert reference.accuracy is not None
    assert reference.accuracy > 0.9


def test_a_law_is_at_no_frechet_distance_from_itself() -> None:
    features = normal(500, 1.0, 2.0, seed=0)
    assert evaluate.frechet(features, features)[0] == pytest.approx(0, abs=1e-6)


def test_noise_is_far_from_real_images(reference: Reference) -> None:
    figures = reference.compare(images.from_uint8(pixels(280, 1, 8, 8)))
    frechet, kernel = figures["frechet"], figures["kernel"]
    assert frechet["interval"][0] > 10 * frechet["as_many_training_images"]["interval"][1]
    assert kernel["interval"][0] > 10 * kernel["as_many_training_images"]["interval"][1]
    assert figures["recall"] < 0.2


def test_copies_are_counted(reference: Reference) -> None:
    samples = torch.cat([reference.train.images[:3], reference.test.images[:4]])
    figures = reference.compare(images.from_uint8(samples))
    assert figures["identical_to_training"] == 3
    assert figures["nearest_training_distance"]["min"] == 0
    assert figures["held_out_nearest_training_distance"]["images"] == 360
    assert figures["nearer_than_1%_of_held_out"] >= 3 / 7
    by_chance = figures["nearer_than_1%_of_held_out_by_chance"]
    assert figures["nearer_than_1%_of_held_out_interval"][0] > by_chance[1], "more than chance gives"


def test_samples_are_judged_as_their_pngs_show_them(reference: Reference) -> None:
    """What rounding to pixels takes away does not hide a copy."""
    off = images.from_uint8(reference.train.images[:5]) + 0.003
    assert reference.compare(off)["identical_to_training"] == 5


def test_a_wrong_label_is_not_recognised(reference: Reference) -> None:
    assert reference.test.labels is not None
    figures = reference.compare(images.from_uint8(reference.test.images), (reference.test.labels + 1) % 10)
    assert figures["recognised"] < 0.03
    assert figures["accuracy"] < 0.03


@pytest.mark.parametrize("count", [1, 2])
def test_figures_are_plain_json(count: int, reference: Reference) -> None:
    figures = reference.compare(torch.zeros(count, 1, 8, 8), torch.arange(count))
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    without = reference.compare(torch.zeros(count, 1, 8, 8))
    assert set(figures) - set(without) == {"accuracy", "accuracy_interval"}


def test_without_classes_distances_to_training_images_are_all(
    split_digits: tuple[Dataset, Dataset], tmp_path: Path
) -> None:
    unlabelled = [dataclasses.replace(split, labels=None, classes=()) for split in split_digits]
    reference = Reference(*unlabelled, tmp_path)
    figures = reference.compare(torch.zeros(2, 1, 8, 8))
    assert reference.accuracy is None
    assert "recognised" not in figures
    assert "frechet" not in figures
    assert figures["identical_to_training"] == 0


def test_without_held_out_images_there_is_nothing_beside(split_digits: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    """As of a folder of fewer than ten images."""
    train, test = split_digits
    figures = Reference(train, test.select(torch.arange(0)), tmp_path).compare(torch.zeros(2, 1, 8, 8))
    assert figures["held_out_nearest_training_distance"] == {"images": 0}


def test_what_cannot_be_evaluated_is_said(reference: Reference) -> None:
    x = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="uint8"):
        reference.compare(x.to(torch.uint8))
    with pytest.raises(ValueError, match="one or more"):
        reference.compare(x[:0])
