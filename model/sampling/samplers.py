"""Samplers as tables, and the one update rule that runs them all.

Every sampler here is linear in what a step knows, so it is precomputed in float64 as one row a step:

    x0, eps   from the network's output:   x0 = P·x + Q·output,  eps = R·x + S·output
    next x                             :   A·x + B·x0 + C·x0_prev + D·eps + E·noise

with x0 thresholded before it is used and eps as predicted. Rows of different samplers therefore share one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from model.networks.unet import UNet
from model.sampling import noise
from model.sampling.schedule import Schedule

Thresholding = Literal["static", "dynamic", "none"]
DYNAMIC_QUANTILE = 0.995  # of an image's |x̂0|: what dynamic thresholding brings to 1 where it is above


@dataclass(frozen=True, slots=True)
class Table:
    """One row a network evaluation, in the order in which they are run.

    timesteps     (K,) int64, what the network is asked about: falling, and distinct but for Heun's second looks
    coefficients  (K, 9) float64: P, Q, R, S, A, B, C, D, E
    thresholding  of x̂0: cut at ±1; scaled down by its own quantile where that is above 1; or left alone
    """

    timesteps: Tensor
    coefficients: Tensor
    thresholding: Thresholding = "static"

    def __len__(self) -> int:
        return len(self.timesteps)


def trailing(start: int, steps: int) -> Tensor:
    """From start - 1 on, in equal strides that end before 0 (Lin et al. 2024, table 2)."""
    left = torch.arange(steps, 0, -1, dtype=torch.float64)
    return (left * start / steps).round().long() - 1


def leading(start: int, steps: int) -> Tensor:
    """Multiples of start // steps, down to 0; the noisiest timesteps are left out (diffusers, with no offset)."""
    return torch.arange(steps - 1, -1, -1) * (start // steps)


def linspace(start: int, steps: int) -> Tensor:
    """From start - 1 to 0, both included."""
    return torch.linspace(start - 1, 0, steps, dtype=torch.float64).round().long()


# Each gives `steps` distinct falling timesteps (steps,) below `start`, for 1 <= steps <= start.
SPACINGS: dict[str, Callable[[int, int], Tensor]] = {"trailing": trailing, "leading": leading, "linspace": linspace}
Spacing = Callable[[int], Tensor]  # steps -> timesteps (steps,), the start settled


def ddpm(
    schedule: Schedule, spacing: Spacing, steps: int, *, variance: Literal["beta_tilde", "beta"] = "beta_tilde"
) -> Table:
    """Ancestral sampling with a fixed variance (Ho et al. 2020, algorithm 2, eq. 7 and section 3.2).

    With fewer steps than T, betas are those of the shorter chain through the same alphas_cumprod
    (Nichol & Dhariwal 2021, eq. 19). The last step adds no noise.
    """
    timesteps = spacing(steps)
    abar, abar_next = _here_and_next(schedule, timesteps)
    alpha = abar / abar_next
    beta = 1 - alpha
    beta_tilde = beta * (1 - abar_next) / (1 - abar)
    sigma = (beta_tilde if variance == "beta_tilde" else beta).sqrt()
    sigma[-1] = 0
    A = alpha.sqrt() * (1 - abar_next) / (1 - abar)
    B = abar_next.sqrt() * beta / (1 - abar)
    return _table(schedule, timesteps, A=A, B=B, E=sigma)


def ddim(schedule: Schedule, spacing: Spacing, steps: int, *, eta: float = 0.0) -> Table:
    """Song et al. 2021, eq. 12 and 16: without noise at eta 0, DDPM with beta-tilde at eta 1. Needs 0 <= eta <= 1."""
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be between 0 and 1, not {eta}")
    timesteps = spacing(steps)
    abar, abar_next = _here_and_next(schedule, timesteps)
    sigma = eta * ((1 - abar_next) / (1 - abar) * (1 - abar / abar_next)).sqrt()
    return _table(schedule, timesteps, B=abar_next.sqrt(), D=(1 - abar_next - sigma**2).clamp(min=0).sqrt(), E=sigma)


def dpmpp_2m(schedule: Schedule, spacing: Spacing, steps: int) -> Table:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): second order, from the x̂0 of this step and the one before.

    The first step has none before it and is of first order. The last goes to clean data, which is x̂0 itself.
    """
    timesteps = spacing(steps)
    abar, abar_next = _here_and_next(schedule, timesteps)
    lambda_, lambda_next = (0.5 * (ratio / (1 - ratio)).log() for ratio in (abar, abar_next))
    h = lambda_next - lambda_  # infinite where data are clean, or noise is all there is
    h_over_h_before = torch.cat([torch.zeros(1, dtype=h.dtype), h[1:] / h[:-1]])
    h_over_h_before[-1] = 0
    gain = abar_next.sqrt() * -torch.expm1(-h)  # of the whole step towards x̂0
    A = ((1 - abar_next) / (1 - abar)).sqrt()
    return _table(schedule, timesteps, A=A, B=gain * (1 + h_over_h_before / 2), C=-gain * h_over_h_before / 2)


def heun(schedule: Schedule, spacing: Spacing, steps: int) -> Table:
    """Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1): second order, two rows a step.

    The first row goes to the next timestep as DDIM does; the second asks the network there, and moves on by half of
    what the slope has changed. A step to clean data has no second row; nor has the first step where the number of
    rows is even, or where it starts in noise alone.
    """
    starts_in_noise_alone = int(schedule.alphas_cumprod[-1] == 0)
    nodes = min(steps, (steps + 2 + starts_in_noise_alone) // 2)
    at = spacing(nodes)
    abar, abar_next = _here_and_next(schedule, at)
    ratio, ratio_next = (((1 - a) / a).sqrt() for a in (abar, abar_next))  # the sigma of Karras et al.
    A = ((1 - abar_next) / (1 - abar)).sqrt()
    B = abar_next.sqrt() - A * abar.sqrt()
    change = abar_next.sqrt() * (ratio / ratio_next - 1) / 2
    first = torch.stack([A, B, torch.zeros_like(A)], dim=1)
    second = torch.stack([torch.ones_like(A), change, -change], dim=1)
    taken = torch.ones(nodes, 2, dtype=torch.bool)
    taken[:, 1] = False
    taken[2 * nodes - 1 - steps : nodes - 1, 1] = True
    timesteps = torch.stack([at, at.roll(-1)], dim=1)[taken]
    A, B, C = torch.stack([first, second], dim=1)[taken].unbind(dim=1)
    return _table(schedule, timesteps, A=A, B=B, C=C)


SAMPLERS: dict[str, Callable[..., Table]] = {
    "ddpm": ddpm,
    "ddpm_beta": partial(ddpm, variance="beta"),
    "ddim": ddim,
    "dpmpp_2m": dpmpp_2m,
    "heun": heun,
}


def table(
    sampler: str,
    schedule: Schedule,
    steps: int,
    *,
    spacing: str = "trailing",
    start: int | None = None,
    thresholding: Thresholding = "static",
    **options: float,
) -> Table:
    """The named sampler's table of `steps` rows.

    start    what is to be undone: timesteps below it; all by default, fewer to begin from a noised image
    options  the sampler's own: `eta` of DDIM
    Raises ValueError for what is not in SAMPLERS or SPACINGS, and for steps that `start` does not hold.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler {sampler!r} is not one of {sorted(SAMPLERS)}")
    if spacing not in SPACINGS:
        raise ValueError(f"spacing {spacing!r} is not one of {sorted(SPACINGS)}")
    start = schedule.num_train_timesteps if start is None else start
    if not 1 <= start <= schedule.num_train_timesteps:
        raise ValueError(f"start must be between 1 and {schedule.num_train_timesteps}, not {start}")
    if not 1 <= steps <= start:
        raise ValueError(f"steps must be between 1 and {start}, not {steps}")
    made = SAMPLERS[sampler](schedule, partial(SPACINGS[spacing], start), steps, **options)
    return replace(made, thresholding=thresholding)


def step(
    coefficients: Tensor,
    x: Tensor,
    x0_prev: Tensor,
    output: Tensor,
    drawn: Tensor,
    thresholding: Sequence[Thresholding],
) -> tuple[Tensor, Tensor]:
    """One row of the table for every image: the next x, and x̂0 (B, C, H, W).

    coefficients  (B, 9): each image's own row
    output        what the network said of x, guided if so asked
    thresholding  of each image
    Terms are added in one fixed order: the sum's last bit is part of the picture.
    """
    P, Q, R, S, A, B, C, D, E = coefficients.to(x.dtype)[:, :, None, None, None].unbind(dim=1)  # (B, 1, 1, 1) each
    x0 = _threshold(P * x + Q * output, thresholding)
    eps = R * x + S * output
    return A * x + B * x0 + C * x0_prev + D * eps + E * drawn, x0


def _threshold(x0: Tensor, thresholding: Sequence[Thresholding]) -> Tensor:
    """Each image by itself: one image must not colour another. Dynamic: Saharia et al. 2022, section 2.3."""
    if all(kind == "static" for kind in thresholding):
        return x0.clamp(-1, 1)
    dynamic = [i for i, kind in enumerate(thresholding) if kind == "dynamic"]
    limit = x0.new_tensor([math.inf if kind == "none" else 1 for kind in thresholding])
    scale = torch.ones_like(limit)
    if dynamic:
        limit[dynamic] = x0[dynamic].abs().flatten(1).quantile(DYNAMIC_QUANTILE, dim=1).clamp(min=1)
        scale[dynamic] = limit[dynamic]
    limit, scale = limit[:, None, None, None], scale[:, None, None, None]
    return x0.clamp(-limit, limit) / scale


def guide(conditional: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Classifier-free guidance by `scale` (B, 1, 1, 1); 1 means none (Ho & Salimans 2022, eq. 6, w = scale - 1)."""
    return unconditional + scale * (conditional - unconditional)


def sample(unet: UNet, table: Table, *, seed: int, count: int, labels: Tensor | None = None) -> Iterator[Tensor]:
    """Algorithm 2, plainly: yields x̂0 (count, C, H, W) after every row of the table. The last is the result."""
    shape = (unet.config.in_channels, unet.config.sample_size, unet.config.sample_size)
    indices = torch.arange(count, device=unet.conv_in.weight.device)
    yield from (x0 for _, x0 in trajectory(unet, table, shape, seed=seed, indices=indices, labels=labels))


@torch.no_grad()
def trajectory(
    predict: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    table: Table,
    shape: tuple[int, int, int],
    *,
    seed: int,
    indices: Tensor,
    labels: Tensor | None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields x and x̂0 (N, C, H, W) after every row of the table, for the images `indices` (N,) of `seed`."""
    seeds = torch.full_like(indices, noise.to_int64(seed))
    x = noise.x_T(seeds, indices, shape)
    x0 = torch.zeros_like(x)
    for row, timestep in enumerate(table.timesteps.tolist()):
        output = predict(x, torch.full_like(indices, timestep), labels).float()
        drawn = noise.step_noise(seeds, indices, torch.full_like(indices, row), shape)
        coefficients = table.coefficients[row].to(indices.device).expand(len(indices), -1)
        x, x0 = step(coefficients, x, x0, output, drawn, [table.thresholding] * len(indices))
        yield x, x0


def _here_and_next(schedule: Schedule, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """alphas_cumprod at each timestep and at the one that follows it; the last is followed by clean data, 1."""
    abar = schedule.alphas_cumprod[timesteps]
    return abar, torch.cat([abar[1:], torch.ones(1, dtype=abar.dtype)])


def _table(schedule: Schedule, timesteps: Tensor, **update: Tensor) -> Table:
    """The whole table from the columns A … E that are not zero, (K,) float64 each."""
    zero = torch.zeros(len(timesteps), dtype=torch.float64)
    columns = [*_prediction_columns(schedule, timesteps), *(update.get(name, zero) for name in "ABCDE")]
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
