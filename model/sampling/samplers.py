"""Samplers as tables, and the single update rule that runs all of them.

Every sampler here is linear in x and the network's output, so its coefficients are computed in float64 ahead of
sampling, one row per step (see `Columns`):

    x0      =  P·x + Q·output        thresholded before it is used
    eps     =  R·x + S·output
    x_next  =  A·x + B·x0 + C·x0_prev + D·eps + E·noise

Rows of different samplers therefore share one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from model.networks.unet import UNet
from model.sampling import noise
from model.sampling.schedule import Schedule

Thresholding = Literal["static", "dynamic", "none"]
DYNAMIC_QUANTILE = 0.995  # quantile of an image's |x̂0|; dynamic thresholding scales it to 1 if it is above 1


class Columns(NamedTuple):
    """The coefficients of the update rule, in the order of a table's columns."""

    x0_from_x: Tensor  # P
    x0_from_output: Tensor  # Q
    eps_from_x: Tensor  # R
    eps_from_output: Tensor  # S
    x: Tensor  # A
    x0: Tensor  # B
    x0_prev: Tensor  # C
    eps: Tensor  # D
    noise: Tensor  # E


@dataclass(frozen=True, slots=True)
class Table:
    """One row per network evaluation, in order of execution.

    timesteps     (K,) int64, the network's input: descending, and distinct except for Heun's second evaluations
    coefficients  (K, 9) float64, its columns in the order of `Columns`
    thresholding  of x̂0: static (clamped to ±1), dynamic (scaled down by its own quantile if that is above 1), none
    """

    timesteps: Tensor
    coefficients: Tensor
    thresholding: Thresholding = "static"

    def __len__(self) -> int:
        return len(self.timesteps)

    @property
    def columns(self) -> Columns:
        """The columns by name, (K,) float64 each."""
        return Columns(*self.coefficients.unbind(dim=1))

    @property
    def noise(self) -> Tensor:
        """The coefficient of each row's noise (K,); 0 if the row draws none."""
        return self.columns.noise


def trailing(start: int, steps: int) -> Tensor:
    """From start - 1 in equal strides that end before 0 (Lin et al. 2024, table 2)."""
    remaining = torch.arange(steps, 0, -1, dtype=torch.float64)
    return (remaining * start / steps).round().long() - 1


def leading(start: int, steps: int) -> Tensor:
    """Multiples of start // steps, down to 0; omits the noisiest timesteps (diffusers, with no offset)."""
    return torch.arange(steps - 1, -1, -1) * (start // steps)


def linspace(start: int, steps: int) -> Tensor:
    """From start - 1 to 0, both included."""
    return torch.linspace(start - 1, 0, steps, dtype=torch.float64).round().long()


# Each returns `steps` distinct descending timesteps (steps,) below `start`, for 1 <= steps <= start.
SPACINGS: dict[str, Callable[[int, int], Tensor]] = {"trailing": trailing, "leading": leading, "linspace": linspace}
Spacing = Callable[[int], Tensor]  # steps -> timesteps (steps,), for a given start


def ddpm(
    schedule: Schedule, spacing: Spacing, steps: int, *, variance: Literal["beta_tilde", "beta"] = "beta_tilde"
) -> Table:
    """Ancestral sampling with a fixed variance (Ho et al. 2020, algorithm 2, eq. 7 and section 3.2).

    With fewer steps than T, betas are those of the shorter chain through the same alphas_cumprod
    (Nichol & Dhariwal 2021, eq. 19). The last step adds no noise.
    """
    timesteps = spacing(steps)
    abar, abar_next = _abar_and_next(schedule, timesteps)
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
    abar, abar_next = _abar_and_next(schedule, timesteps)
    sigma = eta * ((1 - abar_next) / (1 - abar) * (1 - abar / abar_next)).sqrt()
    return _table(schedule, timesteps, B=abar_next.sqrt(), D=(1 - abar_next - sigma**2).clamp(min=0).sqrt(), E=sigma)


def dpmpp_2m(schedule: Schedule, spacing: Spacing, steps: int) -> Table:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2): second order, from the x̂0 of this step and the previous one.

    The first step has no previous x̂0 and is of first order. The last one returns x̂0.
    """
    timesteps = spacing(steps)
    abar, abar_next = _abar_and_next(schedule, timesteps)
    lambda_, lambda_next = (0.5 * (ratio / (1 - ratio)).log() for ratio in (abar, abar_next))
    h = lambda_next - lambda_  # infinite at clean data and at zero SNR
    h_over_h_before = torch.cat([torch.zeros(1, dtype=h.dtype), h[1:] / h[:-1]])
    h_over_h_before[-1] = 0
    gain = abar_next.sqrt() * -torch.expm1(-h)  # weight of x̂0 in a first-order step
    A = ((1 - abar_next) / (1 - abar)).sqrt()
    return _table(schedule, timesteps, A=A, B=gain * (1 + h_over_h_before / 2), C=-gain * h_over_h_before / 2)


def heun(schedule: Schedule, spacing: Spacing, steps: int) -> Table:
    """Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1): second order, two rows per step.

    The first row steps to the next timestep as DDIM does. The second evaluates the network there, and corrects the step
    by half the change of the slope. Two steps have no second row: the last one, to clean data, and the first one if the
    number of rows is even or if it starts at zero SNR, which has no slope.
    """
    starts_at_zero_snr = int(schedule.alphas_cumprod[-1] == 0)
    nodes = min(steps, (steps + 2 + starts_at_zero_snr) // 2)
    node_timesteps = spacing(nodes)
    abar, abar_next = _abar_and_next(schedule, node_timesteps)
    ratio, ratio_next = (((1 - a) / a).sqrt() for a in (abar, abar_next))  # the sigma of Karras et al.
    A = ((1 - abar_next) / (1 - abar)).sqrt()
    B = abar_next.sqrt() - A * abar.sqrt()
    change = abar_next.sqrt() * (ratio / ratio_next - 1) / 2
    first = torch.stack([A, B, torch.zeros_like(A)], dim=1)
    second = torch.stack([torch.ones_like(A), change, -change], dim=1)
    used = torch.ones(nodes, 2, dtype=torch.bool)  # rows (first, second) of each step
    used[:, 1] = False
    used[2 * nodes - 1 - steps : nodes - 1, 1] = True
    timesteps = torch.stack([node_timesteps, node_timesteps.roll(-1)], dim=1)[used]
    A, B, C = torch.stack([first, second], dim=1)[used].unbind(dim=1)
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

    start    timesteps below it are sampled: all by default, fewer to start from a noised image
    options  options of the sampler: `eta` of DDIM
    Raises ValueError for an unknown sampler or spacing, and for a start or steps out of range.
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
    result = SAMPLERS[sampler](schedule, partial(SPACINGS[spacing], start), steps, **options)
    return replace(result, thresholding=thresholding)


def step(
    coefficients: Tensor,
    x: Tensor,
    x0_prev: Tensor,
    output: Tensor,
    drawn: Tensor,
    thresholding: Sequence[Thresholding],
) -> tuple[Tensor, Tensor]:
    """One step of every image: the next x and x̂0, (B, C, H, W) each.

    coefficients  (B, 9): the row of each image's table
    output        the network's prediction for x, after guidance
    drawn         the noise drawn for this row
    thresholding  one per image

    Terms are added in a fixed order, since it decides the last bit of the sum and so the image's bytes.
    """
    of = Columns(*coefficients.to(x.dtype)[:, :, None, None, None].unbind(dim=1))  # (B, 1, 1, 1) each
    x0 = _threshold(of.x0_from_x * x + of.x0_from_output * output, thresholding)
    eps = of.eps_from_x * x + of.eps_from_output * output
    return of.x * x + of.x0 * x0 + of.x0_prev * x0_prev + of.eps * eps + of.noise * drawn, x0


def _threshold(x0: Tensor, thresholding: Sequence[Thresholding]) -> Tensor:
    """Thresholds each image by its own values only (dynamic: Saharia et al. 2022, section 2.3)."""
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
    """Yields x̂0 (count, C, H, W) after every row of the table (Ho et al. 2020, algorithm 2). The last is the result."""
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


def _abar_and_next(schedule: Schedule, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """alphas_cumprod at each timestep and at the next one; after the last timestep it is 1 (clean data)."""
    abar = schedule.alphas_cumprod[timesteps]
    return abar, torch.cat([abar[1:], torch.ones(1, dtype=abar.dtype)])


def _table(schedule: Schedule, timesteps: Tensor, **update: Tensor) -> Table:
    """The table with the update's columns A … E, (K,) float64 each, 0 by default."""
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
