"""Samplers as tables, and the one update rule that runs them all.

Every sampler here is linear in what a step knows, so it is precomputed in float64 as one row a step:

    x0, eps   from the network's output:   x0 = P·x + Q·output,  eps = R·x + S·output
    next x                             :   A·x + B·x0 + C·x0_prev + D·eps + E·noise

with x0 clipped before it is used and eps as predicted. Rows of different samplers therefore share one batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model import noise
from model.schedule import Schedule
from model.unet import UNet


@dataclass(frozen=True, slots=True)
class Table:
    """One row a network evaluation, in the order in which they are run.

    timesteps     (K,) int64, distinct, falling: what the network is asked about
    coefficients  (K, 9) float64: P, Q, R, S, A, B, C, D, E
    """

    timesteps: Tensor
    coefficients: Tensor

    def __len__(self) -> int:
        return len(self.timesteps)


def trailing(num_train_timesteps: int, steps: int) -> Tensor:
    """`steps` timesteps (K,) that start at T - 1 (Lin et al. 2024, table 2). Raises ValueError outside 1 … T."""
    if not 1 <= steps <= num_train_timesteps:
        raise ValueError(f"steps must be between 1 and {num_train_timesteps}, not {steps}")
    left = torch.arange(steps, 0, -1, dtype=torch.float64)
    return (left * num_train_timesteps / steps).round().long() - 1


def ddpm(schedule: Schedule, steps: int, *, variance: Literal["beta_tilde", "beta"] = "beta_tilde") -> Table:
    """Ancestral sampling with a fixed variance (Ho et al. 2020, algorithm 2, eq. 7 and section 3.2).

    With fewer steps than T, betas are those of the shorter chain through the same alphas_cumprod
    (Nichol & Dhariwal 2021, eq. 19). The last step adds no noise.
    """
    timesteps = trailing(schedule.num_train_timesteps, steps)
    abar, abar_prev = _here_and_next(schedule, timesteps)
    alpha = abar / abar_prev
    beta = 1 - alpha
    beta_tilde = beta * (1 - abar_prev) / (1 - abar)
    sigma = (beta_tilde if variance == "beta_tilde" else beta).sqrt()
    sigma[-1] = 0
    zero = torch.zeros_like(abar)
    A = alpha.sqrt() * (1 - abar_prev) / (1 - abar)
    B = abar_prev.sqrt() * beta / (1 - abar)
    return _table(schedule, timesteps, [A, B, zero, zero, sigma])


def ddpm_beta(schedule: Schedule, steps: int) -> Table:
    """Ancestral sampling with the larger variance, sigma² = beta (Ho et al. 2020, section 3.2)."""
    return ddpm(schedule, steps, variance="beta")


SAMPLERS: dict[str, Callable[[Schedule, int], Table]] = {"ddpm": ddpm, "ddpm_beta": ddpm_beta}


def table(sampler: str, schedule: Schedule, steps: int) -> Table:
    """The named sampler's table. Raises ValueError for a sampler not in SAMPLERS, or steps outside 1 … T."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler {sampler!r} is not one of {sorted(SAMPLERS)}")
    return SAMPLERS[sampler](schedule, steps)


def step(coefficients: Tensor, x: Tensor, x0_prev: Tensor, output: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """One row of the table for every image: the next x, and x̂0 (B, C, H, W).

    coefficients  (B, 9): each image's own row
    output        what the network said of x, guided if so asked
    x̂0 is clipped image by image. Terms are added in one fixed order: the sum's last bit is part of the picture.
    """
    P, Q, R, S, A, B, C, D, E = coefficients.to(x.dtype)[:, :, None, None, None].unbind(dim=1)  # (B, 1, 1, 1) each
    x0 = (P * x + Q * output).clamp(-1, 1)
    eps = R * x + S * output
    return A * x + B * x0 + C * x0_prev + D * eps + E * drawn, x0


def guide(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance by `scale` (B, 1, 1, 1); 1 means none (Ho & Salimans 2022, eq. 6, w = scale - 1)."""
    return unconditional + scale * (conditional - unconditional)


@torch.no_grad()
def sample(unet: UNet, table: Table, *, seed: int, count: int, labels: Tensor | None = None) -> Iterator[Tensor]:
    """Algorithm 2, plainly: yields x̂0 (count, C, H, W) after every row of the table. The last is the result."""
    device = unet.conv_in.weight.device
    shape = (unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    indices = torch.arange(count, device=device)
    seeds = torch.full_like(indices, noise.to_int64(seed))
    x = noise.x_T(seeds, indices, shape)
    x0 = torch.zeros_like(x)
    for row, timestep in enumerate(table.timesteps.tolist()):
        output = unet(x, torch.full_like(indices, timestep), labels).float()
        drawn = noise.step_noise(seeds, indices, torch.full_like(indices, row), shape)
        coefficients = table.coefficients[row].to(device).expand(count, -1)
        x, x0 = step(coefficients, x, x0, output, drawn)
        yield x0


def _here_and_next(schedule: Schedule, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """alphas_cumprod at each timestep and at the one that follows it; the last is followed by clean data, 1."""
    abar = schedule.alphas_cumprod[timesteps]
    return abar, torch.cat([abar[1:], torch.ones(1, dtype=abar.dtype)])


def _table(schedule: Schedule, timesteps: Tensor, update_columns: list[Tensor]) -> Table:
    columns = [*_prediction_columns(schedule, timesteps), *update_columns]
    return Table(timesteps, torch.stack(columns, dim=1))


def _prediction_columns(schedule: Schedule, timesteps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """P, Q, R, S (K,) each, from x_t = signal·x0 + sigma·eps and v = signal·eps - sigma·x0."""
    abar = schedule.alphas_cumprod[timesteps]
    signal, sigma = abar.sqrt(), (1 - abar).sqrt()
    zero, one = torch.zeros_like(abar), torch.ones_like(abar)
    if schedule.prediction_type == "epsilon":
        return 1 / signal, -sigma / signal, zero, one
    if schedule.prediction_type == "sample":
        return zero, one, 1 / sigma, -signal / sigma
    return signal, -sigma, sigma, signal
