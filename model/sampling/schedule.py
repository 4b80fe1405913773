"""The noise schedule: betas, alphas_cumprod, the forward process q, and the network's target.

`t` runs from 0 to T - 1, as in diffusers; the paper's t is this t + 1. Schedules have diffusers' names.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

PredictionType = Literal["epsilon", "sample", "v_prediction"]


def linear(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Betas in equal steps (Ho et al. 2020, section 4)."""
    return torch.linspace(beta_start, beta_end, num_train_timesteps, dtype=torch.float64)


def scaled_linear(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Betas whose square roots are in equal steps (Rombach et al. 2022, in their code)."""
    return linear(num_train_timesteps, beta_start**0.5, beta_end**0.5) ** 2


def squaredcos_cap_v2(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """alphas_cumprod falls along a squared cosine (Nichol & Dhariwal 2021, eq. 17); the two betas are not used."""
    x = torch.linspace(0, 1, num_train_timesteps + 1, dtype=torch.float64)
    f = torch.cos((x + 0.008) / 1.008 * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def laplace(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """The log-SNR follows a Laplace quantile function (Hang et al. 2024); the two betas are not used.

    As in diffusers, alphas_cumprod is the square root of SNR / (1 + SNR).
    """
    u = torch.arange(num_train_timesteps + 1, dtype=torch.float64) / num_train_timesteps
    log_snr = torch.where(u > 0.5, 0.5, -0.5) * (1 - 2 * (0.5 - u).abs() + 1e-6).log()
    f = torch.sigmoid(log_snr).sqrt()
    return (1 - f[1:] / f[:-1]).clamp(max=0.999)


def sigmoid(num_train_timesteps: int, beta_start: float, beta_end: float) -> Tensor:
    """Betas along a sigmoid from -6 to 6 (Xu et al. 2022, GeoDiff, in their code)."""
    return torch.sigmoid(linear(num_train_timesteps, -6, 6)) * (beta_end - beta_start) + beta_start


BETA_SCHEDULES: dict[str, Callable[[int, float, float], Tensor]] = {
    "linear": linear,
    "scaled_linear": scaled_linear,
    "squaredcos_cap_v2": squaredcos_cap_v2,
    "sigmoid": sigmoid,
    "laplace": laplace,
}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A noise schedule and what the network predicts under it. All tables are float64, shape (T,).

    trained_betas  (T,), in place of `beta_schedule` and its two betas

    Raises ValueError if a field is out of range or unknown.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: PredictionType = "epsilon"
    rescale_betas_zero_snr: bool = False  # alphas_cumprod then ends at 0 (Lin et al. 2024, algorithm 1)
    trained_betas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.num_train_timesteps < 1:
            raise ValueError(f"num_train_timesteps must be at least 1, not {self.num_train_timesteps}")
        if not 0 < self.beta_start <= self.beta_end < 1:
            raise ValueError(f"betas need 0 < start <= end < 1, not {self.beta_start} and {self.beta_end}")
        if self.beta_schedule not in BETA_SCHEDULES:
            raise ValueError(f"beta_schedule {self.beta_schedule!r} is not one of {sorted(BETA_SCHEDULES)}")
        if self.prediction_type not in get_args(PredictionType):
            allowed = get_args(PredictionType)
            raise ValueError(f"prediction_type {self.prediction_type!r} is not one of {allowed}")
        if self.rescale_betas_zero_snr and self.prediction_type == "epsilon":
            raise ValueError(
                "rescale_betas_zero_snr needs prediction_type v_prediction or sample: eps gives no x0 at T"
            )
        if self.rescale_betas_zero_snr and self.num_train_timesteps < 2:
            raise ValueError("rescale_betas_zero_snr needs num_train_timesteps of at least 2")
        if self.trained_betas is not None:
            if len(self.trained_betas) != self.num_train_timesteps:
                count = len(self.trained_betas)
                raise ValueError(f"trained_betas must hold num_train_timesteps={self.num_train_timesteps}, not {count}")
            if not all(0 < beta < 1 for beta in self.trained_betas):
                raise ValueError("trained_betas must be between 0 and 1, both excluded")

    @cached_property
    def betas(self) -> Tensor:
        if self.trained_betas is None:
            betas = BETA_SCHEDULES[self.beta_schedule](self.num_train_timesteps, self.beta_start, self.beta_end)
        else:
            betas = torch.tensor(self.trained_betas, dtype=torch.float64)
        return _zero_terminal_snr(betas) if self.rescale_betas_zero_snr else betas

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        return torch.cumprod(1 - self.betas, dim=0)

    def q_sample(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t given x_0, in closed form: (B, C, H, W) at `t` (B,) (Ho et al. 2020, eq. 4)."""
        signal, sigma = self._coefficients(self.alphas_cumprod, t, x0)
        return signal * x0 + sigma * noise

    def q_step(self, x_prev: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """x_t given x_{t-1}: one step of the forward chain (Ho et al. 2020, eq. 2)."""
        signal, sigma = self._coefficients(1 - self.betas, t, x_prev)
        return signal * x_prev + sigma * noise

    def target(self, x0: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """The network's target at `t` (v: Salimans & Ho 2022, section 4)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, sigma = self._coefficients(self.alphas_cumprod, t, x0)
        return signal * noise - sigma * x0

    def min_snr_weights(self, gamma: float) -> Tensor:
        """Weights (T,) of the loss at each timestep, which limit the share of timesteps with little noise.

        Hang et al. 2023, section 3.4: min(SNR, gamma) for x0, over SNR for eps, over SNR + 1 for v.
        """
        snr = self.alphas_cumprod / (1 - self.alphas_cumprod)
        per_x0 = snr.clamp(max=gamma)
        return {"epsilon": per_x0 / snr, "sample": per_x0, "v_prediction": per_x0 / (snr + 1)}[self.prediction_type]

    @staticmethod
    def _coefficients(kept: Tensor, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(kept) and sqrt(1 - kept) at `t`, rounded once to the image's dtype: (B, 1, 1, 1) each."""
        at_t = kept.to(t.device)[t][:, None, None, None]
        return at_t.sqrt().to(like.dtype), (1 - at_t).sqrt().to(like.dtype)


def _zero_terminal_snr(betas: Tensor) -> Tensor:
    """Shifts and scales sqrt(alphas_cumprod) so that it ends at 0 and starts where it did."""
    root = torch.cumprod(1 - betas, dim=0).sqrt()
    root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    abar = root**2
    return 1 - torch.cat([abar[:1], abar[1:] / abar[:-1]])
