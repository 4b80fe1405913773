"""Exponential moving average of weights: the network that is sampled from (Ho et al. 2020, appendix B)."""

from __future__ import annotations

import torch
from torch import nn


class EMA:
    """Keeps `average`, a network of the same shape, near the last 1 / (1 - decay) steps of `network`."""

    def __init__(self, network: nn.Module, average: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), not {decay}")
        self.average = average.requires_grad_(False).eval()
        self.average.load_state_dict(network.state_dict())
        self._averaged = list(self.average.parameters())
        self._current = list(network.parameters())
        self._decay = decay

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step `step` (from 1). Early averages are short, so that the first weights fade."""
        decay = min(self._decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self._averaged, self._current, 1 - decay)
