"""The training loss: mean squared error, optionally with min-SNR weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from model.sampling.schedule import Schedule


def weighted_mse(output: Tensor, target: Tensor, t: Tensor, schedule: Schedule, gamma: float | None) -> Tensor:
    """The loss of a network's output (B, C, H, W) at timesteps `t` (B,) (Ho et al. 2020, eq. 14).

    gamma  weights each image by its timestep (min-SNR, Hang et al. 2023); None weights all images alike
    """
    if gamma is None:
        return F.mse_loss(output, target)
    weights = schedule.min_snr_weights(gamma).float().to(t.device)[t]
    return (weights * (output - target).square().mean(dim=(1, 2, 3))).mean()


def weighting(gamma: float | None) -> str:
    """The weighting's name. Losses are comparable only under the same weighting."""
    return "none" if gamma is None else f"min-SNR, gamma {gamma:g}"
