"""Samplers on Gaussian data, whose exact result is known: their final distribution, and their order of convergence."""

from __future__ import annotations

import itertools
import math
from typing import get_args

import pytest
import torch

from model.sampling import samplers
from model.sampling.schedule import PredictionType, Schedule
from tests.model.predictors import GaussianOracle

ZERO_SNR = Schedule(prediction_type="v_prediction", rescale_betas_zero_snr=True)


def moments_of_the_chain(sampler: str, steps: int, mean: float, std: float) -> tuple[float, float]:
    """Mean and standard deviation that Ho et al. 2020, eq. 11, gives one pixel under the exact predictor.

    Every step is linear and its noise Gaussian, so both follow from one number each, step by step.
    """
    abar_of = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).tolist()
    timesteps = list(range(1000 // steps - 1, 1000, 1000 // steps))
    expected, variance = 0.0, 1.0
    for t, t_next in zip(reversed(timesteps), [*reversed(timesteps[:-1]), None], strict=True):
        abar, abar_next = abar_of[t], 1.0 if t_next is None else abar_of[t_next]
        alpha = abar / abar_next
        # eps = (x - sqrt(abar) mean) · sqrt(1 - abar) / (abar std² + 1 - abar): the score of N(mean, std²) diffused.
        pull = (1 - alpha) / (abar * std**2 + 1 - abar)
        factor = (1 - pull) / alpha**0.5
        added = 1 - alpha if sampler == "ddpm_beta" else (1 - alpha) * (1 - abar_next) / (1 - abar)
        expected = factor * expected + pull * abar**0.5 * mean / alpha**0.5
        variance = factor**2 * variance + (0.0 if t_next is None else added)
    return expected, variance**0.5


@pytest.mark.parametrize(
    ("sampler", "prediction_type", "steps"),
    [
        ("ddpm", "epsilon", 1000),
        ("ddpm_beta", "epsilon", 1000),
        *((sampler, kind, 100) for sampler in ("ddpm", "ddpm_beta") for kind in get_args(PredictionType)),
    ],
)
def test_samples_of_a_gaussian_have_the_moments_of_the_papers_chain(
    sampler: str, prediction_type: PredictionType, steps: int
) -> None:
    """With the exact predictor, every pixel follows the distribution of the paper's chain: nearly N(mean, std²)."""
    mean, std = 0.2, 0.15
    schedule = Schedule(prediction_type=prediction_type)
    oracle = GaussianOracle(schedule, mean, std)
    *_, x0 = samplers.sample(oracle, samplers.table(sampler, schedule, steps), seed=3, count=16)
    expected, deviation = moments_of_the_chain(sampler, steps, mean, std)
    count = x0.numel()
    assert abs(x0.mean().item() - expected) < 5 * deviation / count**0.5
    assert abs(x0.std().item() / deviation - 1) < 5 / (2 * count) ** 0.5
    if steps == 1000:  # fewer steps make a coarser chain
        assert expected == pytest.approx(mean, abs=1e-4)
        assert deviation == pytest.approx(std, rel=0.03)


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_samples_from_zero_snr_have_the_moments_of_the_data(name: str) -> None:
    """From zero SNR too, the exact predictor leads to N(mean, std²)."""
    oracle = GaussianOracle(ZERO_SNR, mean=0.2, std=0.15)
    table = samplers.table(name, ZERO_SNR, 201, spacing="linspace")
    *_, x0 = samplers.sample(oracle, table, seed=3, count=16)
    assert x0.mean().item() == pytest.approx(0.2, abs=0.01)
    assert x0.std().item() == pytest.approx(0.15, rel=0.1)


def error_on_a_gaussian(name: str, steps: int) -> float:
    """The largest error at the end of the probability-flow ODE, along which a pixel keeps its z-score."""
    mean, std = 0.2, 0.5
    schedule = Schedule(num_train_timesteps=20_000, beta_start=5e-6, beta_end=1e-3)
    abar_T = schedule.alphas_cumprod[-1]
    table = samplers.table(name, schedule, steps, spacing="linspace", thresholding="none")
    x_T = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None, None, None]
    x, x0 = x_T, torch.zeros_like(x_T)
    for t, row in zip(table.timesteps, table.coefficients, strict=True):
        abar = schedule.alphas_cumprod[t]
        expected_x0 = mean + abar.sqrt() * std**2 / (abar * std**2 + 1 - abar) * (x - abar.sqrt() * mean)
        eps = (x - abar.sqrt() * expected_x0) / (1 - abar).sqrt()
        x, x0 = samplers.step(row.expand(9, -1), x, x0, eps, torch.zeros_like(x), ["none"] * 9)
    exact = mean + std * (x_T - abar_T.sqrt() * mean) / (abar_T * std**2 + 1 - abar_T).sqrt()
    return (x - exact).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("heun", 2)])
def test_samplers_converge_at_their_order(name: str, order: int) -> None:
    """Twice the steps divide the error by 2 to the order; Heun takes an odd number of evaluations."""
    errors = [error_on_a_gaussian(name, steps + (name == "heun")) for steps in (40, 80, 160, 320)]
    observed = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert min(observed) > order - 0.3
    assert errors[-1] < {1: 1e-2, 2: 4e-3}[order]
