"""Exponential moving average of weights, which samples are drawn from (Ho et al. 2020, appendix B)."""

from __future__ import annotations

from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class EMA(Generic[Network]):
    """Keeps `average`, a network of the same shape, at the mean of about the last 1 / (1 - decay) steps."""

    def __init__(self, network: Network, average: Network, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), not {decay}")
        self.average = average.requires_grad_(False).eval()
        self.average.load_state_dict(network.state_dict())
        self._averaged: list[Tensor] = list(self.average.parameters())
        self._current: list[Tensor] = list(network.parameters())
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Call after optimiser step `step` (from 1). The decay grows with it, so that the initial weights fade."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)
