"""Metrics against scipy, formulas and cases whose answer is known exactly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from model.evaluation import metrics


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_recognised_counts_classes_at_or_above_confidence() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.05, 0.95], [0.6, 0.4], [0.1, 0.9]])
    assert metrics.recognised(probabilities) == 0.75  # all but the third; 0.9 itself counts
    assert metrics.recognised(probabilities, torch.tensor([0, 0, 0, 1])) == 0.5
    assert metrics.recognised(probabilities, torch.tensor([0, 0, 0, 1]), confidence=0.5) == 0.75
    assert metrics.accuracy(probabilities, torch.tensor([0, 0, 0, 1])) == 0.75


@given(st.data())
def test_wilson_equals_scipy(draws: st.DataObject) -> None:
    count = draws.draw(st.integers(1, 10_000))
    hits = draws.draw(st.integers(0, count))
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert metrics.wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_at_shares_of_0_and_1_equals_formula() -> None:
    """At a share of 0 it is [0, z² / (n + z²)]; at 1, its mirror image."""
    z2 = 1.959963984540054**2
    assert metrics.wilson(0.0, 10) == pytest.approx((0.0, z2 / (10 + z2)))
    assert metrics.wilson(1.0, 10) == pytest.approx((10 / (10 + z2), 1.0))


def test_nearest_training_distance_of_known_images() -> None:
    train = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    train[1], train[2] = 10, 255
    samples = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    samples[1, 0, 0, 0], samples[2], samples[3, 0, 0] = 3, 255, 9
    # Equal to an image; one pixel off by 3; equal to another image; two pixels off by 9 (the image of 10s is further).
    distances = metrics.nearest_training_distance(samples, train)
    torch.testing.assert_close(distances, torch.tensor([0.0, 3.0, 0.0, 162**0.5], dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_nearest_training_distance_equals_brute_force_in_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "CHUNK", chunk)
    samples, train = pixels(5, 3, 4, 4), pixels(23, 3, 4, 4, seed=1)
    expected = [min((a.double() - b.double()).norm().item() for b in train) for a in samples]
    ours = metrics.nearest_training_distance(samples, train)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))


def test_nearest_training_distance_is_0_only_for_equal_pixels() -> None:
    """The smallest difference of a large bright image is a distance of exactly 1."""
    train = torch.full((2, 3, 64, 64), 255, dtype=torch.uint8)
    nearly = train[:1].clone()
    nearly[0, 0, 0, 0] = 254
    assert metrics.nearest_training_distance(train[:1], train).tolist() == [0.0]
    assert metrics.nearest_training_distance(nearly, train).tolist() == [1.0]


def normal(count: int, mean: float, std: float, seed: int, dimensions: int = 4) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)) * std + mean


def test_frechet_distance_of_gaussians_equals_formula() -> None:
    """Between N(a, s²) and N(b, r²) in each of F dimensions: F·((a - b)² + (s - r)²) (Dowson & Landau 1982)."""
    distance, error = metrics.frechet(normal(20_000, 1.0, 2.0, seed=0), normal(20_000, 0.0, 1.0, seed=1))
    assert abs(distance - 4 * (1 + 1)) < 5 * error
    assert 0 < error < 0.2


def test_kernel_distance_is_0_for_equal_distributions_and_positive_for_others() -> None:
    real = normal(2000, 0.0, 1.0, seed=1)
    same, spread = metrics.kernel(normal(2000, 0.0, 1.0, seed=0), real)
    assert abs(same) < 5 * spread
    other, spread = metrics.kernel(normal(2000, 1.0, 1.0, seed=0), real)
    assert other > 10 * spread


def test_kernel_distance_error_bounds_the_spread_between_sample_sets() -> None:
    """Compared with the standard deviation of the distance over 30 sample sets."""
    real = normal(400, 0.0, 1.0, seed=1000)
    found = torch.tensor([metrics.kernel(normal(200, 0.5, 1.0, seed=seed), real) for seed in range(30)])
    assert 0.8 * found[:, 0].std() < found[:, 1].mean() < 3 * found[:, 0].std()


def test_coverage_reaches_to_the_third_neighbour() -> None:
    """Points on a line, one apart: inner points reach 2 (their third neighbour), the outermost 3."""
    line = torch.arange(10.0)[:, None]
    assert metrics.coverage(line + 0.4, line) == 1
    assert metrics.coverage(torch.tensor([[-2.9], [-3.1], [11.9], [12.1]]), line) == 0.5
    assert metrics.coverage(torch.tensor([[100.0]]), line) == 0
    # Recall falls with real images that no sample is near.
    assert metrics.coverage(torch.cat([line, line + 1000]), line) == 0.5


def test_frechet_distance_of_equal_features_is_0() -> None:
    features = normal(500, 1.0, 2.0, seed=0)
    assert metrics.frechet(features, features)[0] == pytest.approx(0, abs=1e-6)
