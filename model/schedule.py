"""The noise schedule: betas, what follows from them, and the forward process q.

`t` runs from 0 to T - 1, as in diffusers; the paper's t is this t + 1.
"""

from __future__ import annotations

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


BETA_SCHEDULES: dict[str, Callable[[int, float, float], Tensor]] = {"linear": linear}


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A noise schedule and what the network predicts under it. All tables are float64, shape (T,).

    Raises ValueError where a field is out of range or unknown.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    prediction_type: PredictionType = "epsilon"

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

    @cached_property
    def betas(self) -> Tensor:
        return BETA_SCHEDULES[self.beta_schedule](self.num_train_timesteps, self.beta_start, self.beta_end)

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
        """What the network is to predict at `t` (v: Salimans & Ho 2022, section 4)."""
        if self.prediction_type == "epsilon":
            return noise
        if self.prediction_type == "sample":
            return x0
        signal, sigma = self._coefficients(self.alphas_cumprod, t, x0)
        return signal * noise - sigma * x0

    @staticmethod
    def _coefficients(kept: Tensor, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """sqrt(kept) and sqrt(1 - kept) at `t`, rounded once to the image's dtype: (B, 1, 1, 1) each."""
        at_t = kept.to(t.device)[t][:, None, None, None]
        return at_t.sqrt().to(like.dtype), (1 - at_t).sqrt().to(like.dtype)
