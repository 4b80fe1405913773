"""Bits per dimension: the variational bound on the likelihood (Ho et al. 2020, section 3 and eq. 5)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from model import images
from model.sampling import samplers
from model.sampling.schedule import Schedule

BIN = 1 / 255  # half of a grey level's width in [-1, 1]
MIN_PROBABILITY = 1e-12  # minimum probability of a bin, so that a single pixel cannot make the bound infinite

Predictor = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x_t, t, chosen) -> the network's output


def bits_per_dimension(
    predict: Predictor, schedule: Schedule, pixels: Tensor, *, per_timestep: int = 16, seed: int = 0
) -> tuple[float, float]:
    """The bound for uint8 images (N, C, H, W), in bits per pixel and channel, and its standard error.

    predict       the network at x_t (B, C, H, W) and t (B,), for the images with indices `chosen` (B,)
    per_timestep  number of images for the estimate of each term, drawn anew for each timestep

    The reverse process is `ddpm`, with variance beta-tilde. At t = 0 that is 0, so the variance of t = 1 is used.
    """
    generator = torch.Generator().manual_seed(seed)
    table = samplers.table("ddpm", schedule, schedule.num_train_timesteps)
    least = table.coefficients[-2:, 8].max().float()  # sigma at t = 1
    mean, variance = 0.0, 0.0
    for t, row in zip(table.timesteps, table.coefficients.float(), strict=True):
        chosen = torch.randint(len(pixels), (per_timestep,), generator=generator)
        x0 = images.from_uint8(pixels[chosen])
        at_t = t.expand(per_timestep)
        x_t = schedule.q_sample(x0, at_t, torch.randn(x0.shape, generator=generator))
        P, Q, _, _, _, B, _, _, sigma = row
        predicted = (P * x_t + Q * predict(x_t, at_t, chosen)).clamp(-1, 1)
        terms = _divergence(B * (x0 - predicted), sigma) if t > 0 else _decoder(x0, predicted, least)
        mean += terms.mean().item()
        variance += terms.var().item() / per_timestep
    prior = _prior(schedule, images.from_uint8(pixels))
    return mean + prior.mean().item(), math.sqrt(variance + prior.var().item() / len(pixels))


def _divergence(difference: Tensor, sigma: Tensor) -> Tensor:
    """KL divergence of Gaussians with equal variance, by the difference of their means: bits per dimension (B,)."""
    return (difference.square() / (2 * sigma**2)).flatten(1).mean(dim=1) / math.log(2)


def _decoder(x0: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """-log2 of the probability of a grey level's bin under N(mean, sigma²): (B,). The outer bins are unbounded."""
    upper = torch.where(x0 > 0.999, 1.0, torch.special.ndtr((x0 + BIN - mean) / sigma))
    lower = torch.where(x0 < -0.999, 0.0, torch.special.ndtr((x0 - BIN - mean) / sigma))
    return -(upper - lower).clamp(min=MIN_PROBABILITY).log2().flatten(1).mean(dim=1)


def _prior(schedule: Schedule, x0: Tensor) -> Tensor:
    """L_T of eq. 5: the divergence of q(x_T | x0) from N(0, I), in bits per dimension: (N,)."""
    last = schedule.alphas_cumprod[-1]
    mean_squared = (last * x0.double().square()).flatten(1).mean(dim=1)
    return 0.5 * (mean_squared - last - (1 - last).log()) / math.log(2)
