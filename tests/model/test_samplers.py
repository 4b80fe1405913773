"""Whole trajectories against diffusers' `DDPMScheduler`, and against a Gaussian whose exact answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers import scheduling_ddpm
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from model import noise, samplers
from model.schedule import PredictionType, Schedule
from model.unet import UNetConfig

SEED, COUNT, SIZE = 2**64 - 3, 4, 4
VARIANCES = {"ddpm": "fixed_small", "ddpm_beta": "fixed_large"}  # our name: diffusers' variance_type


class Stand(nn.Module):
    """Stands where a U-Net would: any function of x_t and t."""

    def __init__(self, channels: int = 3, size: int = SIZE) -> None:
        super().__init__()
        self.config = UNetConfig(sample_size=size, in_channels=channels, out_channels=channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)


class Mixer(Stand):
    """Like a trained network's answer: x_t's own noise or image for the most part, and a bounded mixture of pixels."""

    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv_in.reset_parameters()
        self.schedule = schedule

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        abar = self.schedule.alphas_cumprod.float()[t][:, None, None, None]
        share = abar.sqrt() if self.schedule.prediction_type == "sample" else (1 - abar).sqrt()
        return share * x_t + 0.3 * torch.tanh(self.conv_in(x_t)) * torch.cos(t / 50)[:, None, None, None]


class GaussianOracle(Stand):
    """The best answer there is where every pixel is drawn from N(mean, std²)."""

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


def reference_scheduler(schedule: Schedule, variance_type: str) -> DDPMScheduler:
    return DDPMScheduler(
        num_train_timesteps=schedule.num_train_timesteps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule=schedule.beta_schedule,
        prediction_type=schedule.prediction_type,
        variance_type=variance_type,
        timestep_spacing="trailing",
        clip_sample=True,
    )


@cache
def all_noise() -> tuple[Tensor, Tensor]:
    """x_T (COUNT, C, H, W), and the noise of 1000 rows (1000, COUNT, C, H, W)."""
    indices, rows = torch.arange(COUNT), torch.arange(1000)
    seeds = torch.full_like(indices, noise.to_int64(SEED))
    shape = (3, SIZE, SIZE)
    of_rows = noise.step_noise(seeds.repeat(1000), indices.repeat(1000), rows.repeat_interleave(COUNT), shape)
    return noise.x_T(seeds, indices, shape), of_rows.view(1000, COUNT, *shape)


def reference_trajectory(
    network: Stand, scheduler: DDPMScheduler, steps: int, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Tensor]:
    """x̂0 after every step of diffusers, which is given our noise where it would draw its own."""
    x, step_noise = all_noise()
    scheduler.set_timesteps(steps)
    for t, drawn in zip(scheduler.timesteps, step_noise, strict=False):
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, drawn=drawn, **__: drawn)
        with torch.no_grad():
            output = network(x, t.expand(COUNT))
        step = scheduler.step(output, t, x)
        x = step.prev_sample
        yield step.pred_original_sample


@pytest.mark.parametrize("steps", [10, 50, 1000])
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize("sampler", sorted(VARIANCES))
def test_ddpm_is_diffusers(
    sampler: str, prediction_type: PredictionType, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole trajectory of x̂0, which holds every x_t too, since each is made from the one before.

    The last x̂0 is the picture. (With fixed_large and fewer steps than T, diffusers adds noise to it once more,
    since it asks whether t > 0; Ho et al. 2020, algorithm 2, adds none in the last step.)
    """
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = reference_scheduler(schedule, VARIANCES[sampler])
    theirs = reference_trajectory(network, scheduler, steps, monkeypatch)
    table = samplers.table(sampler, schedule, steps)
    ours = samplers.sample(network, table, seed=SEED, count=COUNT)  # type: ignore[arg-type]
    worst = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    assert worst < 1e-4
    assert torch.equal(table.timesteps, scheduler.timesteps)


def test_the_trajectory_is_not_trivial() -> None:
    """What the comparison above compares: pictures that are neither clipped flat nor each other's."""
    network = Mixer(Schedule())
    table = samplers.table("ddpm", Schedule(), 50)
    *_, x0 = samplers.sample(network, table, seed=SEED, count=COUNT)  # type: ignore[arg-type]
    assert (x0.abs() < 1).float().mean() > 0.2
    assert x0.std(dim=0).min() > 0.01


def law_of_the_chain(sampler: str, steps: int, mean: float, std: float) -> tuple[float, float]:
    """Mean and standard deviation that Ho et al. 2020, eq. 11, gives one pixel under the exact predictor.

    Every step is linear and its noise Gaussian, so both follow from one number each, step by step.
    """
    abar_of = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).tolist()
    timesteps = list(range(1000 // steps - 1, 1000, 1000 // steps))
    expected, variance = 0.0, 1.0
    for t, t_next in zip(reversed(timesteps), [*reversed(timesteps[:-1]), None], strict=True):
        abar, abar_next = abar_of[t], 1.0 if t_next is None else abar_of[t_next]
        alpha = abar / abar_next
        # eps = (x - sqrt(abar) mean) · sqrt(1 - abar) / (abar std² + 1 - abar): the score of N(mean, std²) diffused.
        pull = (1 - alpha) / (abar * std**2 + 1 - abar)
        factor = (1 - pull) / alpha**0.5
        added = 1 - alpha if sampler == "ddpm_beta" else (1 - alpha) * (1 - abar_next) / (1 - abar)
        expected = factor * expected + pull * abar**0.5 * mean / alpha**0.5
        variance = factor**2 * variance + (0.0 if t_next is None else added)
    return expected, variance**0.5


@pytest.mark.parametrize(
    ("sampler", "prediction_type", "steps"),
    [
        ("ddpm", "epsilon", 1000),
        ("ddpm_beta", "epsilon", 1000),
        *((sampler, kind, 100) for sampler in sorted(VARIANCES) for kind in get_args(PredictionType)),
    ],
)
def test_a_gaussian_is_sampled(sampler: str, prediction_type: PredictionType, steps: int) -> None:
    """With the exact predictor, every pixel follows the law of the paper's chain: nearly N(mean, std²)."""
    mean, std = 0.2, 0.15
    schedule = Schedule(prediction_type=prediction_type)
    oracle = GaussianOracle(schedule, mean, std)
    *_, x0 = samplers.sample(oracle, samplers.table(sampler, schedule, steps), seed=3, count=16)  # type: ignore[arg-type]
    expected, deviation = law_of_the_chain(sampler, steps, mean, std)
    count = x0.numel()
    assert abs(x0.mean().item() - expected) < 5 * deviation / count**0.5
    assert abs(x0.std().item() / deviation - 1) < 5 / (2 * count) ** 0.5
    if steps == 1000:  # fewer steps make a coarser chain
        assert expected == pytest.approx(mean, abs=1e-4)
        assert deviation == pytest.approx(std, rel=0.03)


def test_each_row_is_the_papers_formula() -> None:
    """Ho et al. 2020, algorithm 2, line 4, in terms of eps; without clipping it is the same line."""
    schedule = Schedule()
    table = samplers.ddpm(schedule, schedule.num_train_timesteps)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    P, Q, _, _, A, B, C, D, E = table.coefficients.flip(0).unbind(1)  # by t
    alpha = 1 - betas
    torch.testing.assert_close(A + B * P, 1 / alpha.sqrt())  # what multiplies x_t
    torch.testing.assert_close(B * Q, -betas / (alpha.sqrt() * (1 - abar).sqrt()))  # and eps
    sigma = (betas[1:] * (1 - abar[:-1]) / (1 - abar[1:])).sqrt()
    torch.testing.assert_close(E[1:], sigma)
    assert E[0] == 0
    assert not C.any()
    assert not D.any()
    assert torch.equal(table.timesteps, torch.arange(999, -1, -1))


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_prediction_columns_undo_the_forward_process(prediction_type: PredictionType) -> None:
    """From x_t and the true target, a row finds x0 and eps again."""
    schedule = Schedule(prediction_type=prediction_type)
    table = samplers.ddpm(schedule, 20)
    generator = torch.Generator().manual_seed(0)
    x0 = torch.rand(20, 1, 2, 2, generator=generator, dtype=torch.float64) * 2 - 1
    eps = torch.randn(20, 1, 2, 2, generator=generator, dtype=torch.float64)
    x_t = schedule.q_sample(x0, table.timesteps, eps)
    output = schedule.target(x0, table.timesteps, eps)
    P, Q, R, S = table.coefficients[:, :4, None, None, None].unbind(1)
    torch.testing.assert_close(P * x_t + Q * output, x0)
    torch.testing.assert_close(R * x_t + S * output, eps)


def test_rows_of_different_tables_share_one_step() -> None:
    """Each image under its own row is what it is alone."""
    schedule = Schedule()
    row = torch.stack([samplers.table(name, schedule, k).coefficients[k // 2] for name in VARIANCES for k in (7, 90)])
    generator = torch.Generator().manual_seed(0)
    x, x0_prev, output, drawn = torch.randn(4, 4, 3, SIZE, SIZE, generator=generator).unbind(0)
    together = samplers.step(row, x, x0_prev, output, drawn)
    for i in range(4):
        one = slice(i, i + 1)
        alone = samplers.step(row[one], x[one], x0_prev[one], output[one], drawn[one])
        assert torch.equal(together[0][one], alone[0])
        assert torch.equal(together[1][one], alone[1])


def test_the_last_step_is_the_clipped_image() -> None:
    schedule = Schedule()
    for name in samplers.SAMPLERS:
        last = samplers.table(name, schedule, 10).coefficients[-1:]
        x, output, drawn = torch.full((3, 1, 1, 2, 2), 2.5).unbind(0)
        x_next, x0 = samplers.step(last, x, torch.zeros_like(x), output, drawn)
        assert torch.equal(x_next, x0)
        assert x0.abs().max() <= 1


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_a_first_row_knows_no_x0_before_it(name: str) -> None:
    """So image-to-image may start anywhere with a table of its own."""
    C = samplers.table(name, Schedule(), 10).coefficients[0, 6]
    assert C == 0


def test_sampling_yields_every_step_and_depends_on_the_seed_alone() -> None:
    network = Mixer(Schedule())
    table = samplers.table("ddpm", Schedule(), 12)
    first, again = (
        list(samplers.sample(network, table, seed=5, count=3))  # type: ignore[arg-type]
        for _ in range(2)
    )
    other = list(samplers.sample(network, table, seed=6, count=3))  # type: ignore[arg-type]
    assert len(first) == len(table) == 12
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[-1], other[-1])
    assert first[-1].shape == (3, 3, SIZE, SIZE)


def test_guidance() -> None:
    """Ho & Salimans 2022, eq. 6: (1 + w)·conditional - w·unconditional, with w = scale - 1."""
    generator = torch.Generator().manual_seed(0)
    conditional, unconditional = torch.randn(2, 3, 1, 2, 2, generator=generator).unbind(0)
    w = torch.tensor([0.0, 1.5, -1.0])[:, None, None, None]
    guided = samplers.guide(conditional, unconditional, w + 1)
    torch.testing.assert_close(guided, (1 + w) * conditional - w * unconditional)
    torch.testing.assert_close(guided[0], conditional[0])  # scale 1: no guidance
    assert torch.equal(guided[2], unconditional[2])  # scale 0: no class


def test_timesteps_are_distinct_and_fall_for_every_number_of_steps() -> None:
    for steps in range(1, 1001):
        timesteps = samplers.trailing(1000, steps)
        assert len(timesteps) == steps
        assert timesteps[0] == 999
        assert timesteps[-1] >= 0
        assert (timesteps.diff() < 0).all(), steps


@given(st.data())
def test_timesteps_are_distinct_for_any_schedule(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 5000))
    timesteps = samplers.trailing(total, data.draw(st.integers(1, total)))
    assert timesteps[0] == total - 1
    assert timesteps[-1] >= 0
    assert (timesteps.diff() < 0).all()


@pytest.mark.parametrize("steps", [1, 4, 10, 25, 50, 100, 250, 500, 1000])
def test_timesteps_are_diffusers(steps: int) -> None:
    scheduler = reference_scheduler(Schedule(), "fixed_small")
    scheduler.set_timesteps(steps)
    assert torch.equal(samplers.trailing(1000, steps), scheduler.timesteps)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (("ddpm", 0), "steps"),
        (("ddpm", 1001), "1000"),
        (("ddpm", -3), "steps"),
        (("euler", 10), "'euler'"),
    ],
)
def test_what_no_table_can_be_made_for_is_named(call: tuple[Any, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        samplers.table(call[0], Schedule(), call[1])


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
@pytest.mark.parametrize("steps", [1, 2, 1000])
def test_tables_are_finite(name: str, steps: int) -> None:
    table = samplers.table(name, Schedule(), steps)
    assert len(table) == steps
    assert table.coefficients.shape == (steps, 9)
    assert table.coefficients.dtype == torch.float64
    assert table.coefficients.isfinite().all()
