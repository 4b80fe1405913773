"""The variational bound: each term against torch.distributions, and the whole against a known answer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from model import images
from model.evaluation import likelihood
from model.sampling.schedule import Schedule

SCHEDULE = Schedule(num_train_timesteps=100, beta_start=1e-3, beta_end=0.2)


def pixels(count: int, seed: int = 0) -> Tensor:
    """Grey levels from N(0, 0.3²), for which the best predictor of x0 is linear in x_t."""
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return images.to_uint8(0.3 * noise)


def oracle(x_t: Tensor, t: Tensor, chosen: Tensor) -> Tensor:
    """The eps that belongs to E[x0 | x_t] for N(0, 0.3²)."""
    abar = SCHEDULE.alphas_cumprod.float()[t][:, None, None, None]
    x0 = abar.sqrt() * 0.3**2 / (abar * 0.3**2 + 1 - abar) * x_t
    return (x_t - abar.sqrt() * x0) / (1 - abar).sqrt()


def test_divergence_equals_kl_of_posterior_and_prediction() -> None:
    """q(x_{t-1} | x_t, x0) is Ho et al. 2020, eq. 6 and 7; p is the same with the predicted x0."""
    abar, betas = SCHEDULE.alphas_cumprod, SCHEDULE.betas
    generator = torch.Generator().manual_seed(0)
    x0, predicted, x_t = (torch.randn(3, 1, 2, 2, generator=generator, dtype=torch.float64) for _ in range(3))
    for t in (1, 7, 99):
        scale = betas[t] * (1 - abar[t - 1]) / (1 - abar[t])

        def posterior(of: Tensor, t: int = t, scale: Tensor = scale) -> Normal:
            mean = abar[t - 1].sqrt() * betas[t] / (1 - abar[t]) * of
            mean = mean + (1 - betas[t]).sqrt() * (1 - abar[t - 1]) / (1 - abar[t]) * x_t
            return Normal(mean, scale.sqrt())

        expected = kl_divergence(posterior(x0), posterior(predicted)).flatten(1).mean(dim=1) / math.log(2)
        B = abar[t - 1].sqrt() * betas[t] / (1 - abar[t])
        torch.testing.assert_close(likelihood._divergence(B * (x0 - predicted), scale.sqrt()), expected)


def test_decoder_probabilities_sum_to_1() -> None:
    """Over the 256 grey levels, for any mean."""
    levels = images.from_uint8(torch.arange(256, dtype=torch.uint8)).view(256, 1, 1, 1)
    for mean in (-1.0, -0.3, 0.999, 1.0):
        bits = likelihood._decoder(levels, torch.full_like(levels, mean), torch.tensor(0.05))
        assert (2**-bits).sum().item() == pytest.approx(1, abs=1e-4)


def test_prior_equals_kl_from_standard_normal() -> None:
    x0 = images.from_uint8(pixels(5))
    last = SCHEDULE.alphas_cumprod[-1]
    q = Normal(last.sqrt() * x0.double(), (1 - last).sqrt())
    expected = kl_divergence(q, Normal(0.0, 1.0)).flatten(1).mean(dim=1) / math.log(2)
    torch.testing.assert_close(likelihood._prior(SCHEDULE, x0), expected)


def test_bound_of_gaussian_data_equals_its_closed_form() -> None:
    """The squared error of the best predictor for N(0, s²) is s² (1 - abar) / (abar s² + 1 - abar).

    This gives every term but the decoder's. The bound exceeds the entropy, and that of a worse predictor is higher.
    """
    abar, betas, s2 = SCHEDULE.alphas_cumprod, SCHEDULE.betas, 0.3**2
    variance = s2 * (1 - abar) / (abar * s2 + 1 - abar)
    scale = betas[1:] * (1 - abar[:-1]) / (1 - abar[1:])
    B = abar[:-1].sqrt() * betas[1:] / (1 - abar[1:])
    divergences = (B**2 * variance[1:] / (2 * scale)).sum().item() / math.log(2)
    off = variance[0].sqrt() * torch.randn(100_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    inside = Normal(0.0, scale[0].sqrt())
    decoder = -(inside.cdf(off + 1 / 255) - inside.cdf(off - 1 / 255)).log2().mean().item()

    bits, spread = likelihood.bits_per_dimension(oracle, SCHEDULE, pixels(500), per_timestep=64)
    assert 0 < spread < 0.1
    assert abs(bits - divergences - decoder) < 5 * spread
    entropy = math.log2(0.3 * math.sqrt(2 * math.pi * math.e) * 255 / 2)  # of levels 2/255 apart
    assert bits > entropy
    worse, _ = likelihood.bits_per_dimension(lambda *given: 0.7 * oracle(*given), SCHEDULE, pixels(500))
    assert worse > bits + 0.2
