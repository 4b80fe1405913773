"""Predictors that replace a U-Net: a smooth one, and one whose result is known exactly."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.networks.unet import UNetConfig
from model.sampling.schedule import Schedule

SIZE = 4


class Predictor(nn.Module):
    """Base class with a U-Net's interface; subclasses may be any function of x_t and t."""

    def __init__(self, channels: int = 3, size: int = SIZE) -> None:
        super().__init__()
        self.config = UNetConfig(sample_size=size, in_channels=channels, out_channels=channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)


class Mixer(Predictor):
    """As smooth as a trained network: x̂0 is x_t at little noise, and a mixture of its pixels at much noise."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv_in.reset_parameters()
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        abar = self.schedule.alphas_cumprod.float()[t][:, None, None, None]
        signal, sigma, mixture = abar.sqrt(), (1 - abar).sqrt(), 1.3 * torch.tanh(self.conv_in(x_t))
        return {
            "epsilon": sigma * x_t - signal * mixture,
            "sample": signal * x_t + sigma * mixture,
            "v_prediction": -mixture,
        }[self.schedule.prediction_type]


class GaussianOracle(Predictor):
    """The optimal predictor for pixels drawn from N(mean, std²)."""

    def __init__(self, schedule: Schedule, mean: float, std: float) -> None:
        super().__init__(channels=1, size=32)
        self.schedule, self.mean, self.std = schedule, mean, std

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        abar = self.schedule.alphas_cumprod.float()[t][:, None, None, None]
        signal, sigma = abar.sqrt(), (1 - abar).sqrt()
        # E[x0 | x_t]: the mean of two Gaussians' product.
        x0 = self.mean + signal * self.std**2 / (abar * self.std**2 + 1 - abar) * (x_t - signal * self.mean)
        if self.schedule.prediction_type == "sample":
            return x0
        eps = (x_t - signal * x0) / sigma
        return eps if self.schedule.prediction_type == "epsilon" else signal * eps - sigma * x0
