"""Whole trajectories against diffusers' schedulers, and against a Gaussian whose exact answer is known."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from model import noise, samplers
from model.schedule import PredictionType, Schedule
from model.unet import UNetConfig

SEED, COUNT, SIZE = 2**64 - 3, 4, 4
TABLES = sorted(samplers.SAMPLERS)
NOISE_ALONE = Schedule(prediction_type="v_prediction", rescale_betas_zero_snr=True)
NUMPY_AND_DIFFUSERS = "ignore:__array__ implementation:DeprecationWarning"  # diffusers makes arrays of tensors
VARIANCES = {"ddpm": "fixed_small", "ddpm_beta": "fixed_large"}  # our name: diffusers' variance_type


class Stand(nn.Module):
    """Stands where a U-Net would: any function of x_t and t."""

    def __init__(self, channels: int = 3, size: int = SIZE) -> None:
        super().__init__()
        self.config = UNetConfig(sample_size=size, in_channels=channels, out_channels=channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)


class Mixer(Stand):
    """As smooth as a trained network: where little is noise x̂0 is x_t, where much is it is a mixture of its pixels."""

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


def config(schedule: Schedule, spacing: str = "trailing") -> dict[str, Any]:
    """What every scheduler of diffusers wants to know."""
    return {
        "num_train_timesteps": schedule.num_train_timesteps,
        "beta_start": schedule.beta_start,
        "beta_end": schedule.beta_end,
        "beta_schedule": schedule.beta_schedule,
        "prediction_type": schedule.prediction_type,
        "timestep_spacing": spacing,
    }


@cache
def all_noise() -> tuple[Tensor, Tensor]:
    """x_T (COUNT, C, H, W), and the noise of 1000 rows (1000, COUNT, C, H, W)."""
    indices, rows = torch.arange(COUNT), torch.arange(1000)
    seeds = torch.full_like(indices, noise.to_int64(SEED))
    shape = (3, SIZE, SIZE)
    of_rows = noise.step_noise(seeds.repeat(1000), indices.repeat(1000), rows.repeat_interleave(COUNT), shape)
    return noise.x_T(seeds, indices, shape), of_rows.view(1000, COUNT, *shape)


def worst_difference(network: Stand, table: samplers.Table, theirs: Iterator[Tensor]) -> float:
    """Between our x̂0 and theirs, over the whole trajectory: it holds every x_t too, each being made from the last."""
    ours = list(samplers.sample(network, table, seed=SEED, count=COUNT))  # type: ignore[arg-type]
    expected = list(theirs)
    assert len(ours) == len(expected) == len(table)
    return max((a - b).abs().max().item() for a, b in zip(ours, expected, strict=True))


def reference_trajectory(
    network: Stand, scheduler: Any, table: samplers.Table, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[Tensor]:
    """x̂0 after every step of diffusers, which is given our noise where it would draw its own."""
    x, step_noise = all_noise()
    assert torch.equal(table.timesteps, scheduler.timesteps.long())
    # Their float32 loses four digits of 1 - alphas_cumprod at the last timesteps, which is not what is compared here.
    scheduler.alphas_cumprod = network.schedule.alphas_cumprod
    for t, drawn in zip(scheduler.timesteps, step_noise, strict=False):
        for module in (scheduling_ddpm, scheduling_ddim):
            monkeypatch.setattr(module, "randn_tensor", lambda *_, drawn=drawn, **__: drawn)
        with torch.no_grad():
            output = network(x, t.long().expand(COUNT))
        step = scheduler.step(output, t, x, **options)
        x = step.prev_sample
        yield step.pred_original_sample


# name: (our thresholding, what diffusers' DDPM and DDIM schedulers call it)
THRESHOLDINGS: dict[str, tuple[samplers.Thresholding, dict[str, Any]]] = {
    "clipped": ("static", {"clip_sample": True}),
    "unclipped": ("none", {"clip_sample": False}),
}


@pytest.mark.parametrize("thresholding", THRESHOLDINGS)
@pytest.mark.parametrize("steps", [10, 50, 1000])
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize("sampler", sorted(VARIANCES))
def test_ddpm_is_diffusers(
    sampler: str, prediction_type: PredictionType, steps: int, thresholding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last x̂0 is the picture. (With fixed_large and fewer steps than T, diffusers adds noise to it once more,
    since it asks whether t > 0; Ho et al. 2020, algorithm 2, adds none in the last step.)
    """
    schedule = Schedule(prediction_type=prediction_type)
    ours, theirs = THRESHOLDINGS[thresholding]
    network = Mixer(schedule)
    scheduler = DDPMScheduler(**config(schedule), variance_type=VARIANCES[sampler], **theirs)
    scheduler.set_timesteps(steps)
    table = samplers.table(sampler, schedule, steps, thresholding=ours)
    assert worst_difference(network, table, reference_trajectory(network, scheduler, table, monkeypatch)) < 1e-4


@pytest.mark.parametrize("thresholding", THRESHOLDINGS)
@pytest.mark.parametrize("eta", [0.0, 0.4])
@pytest.mark.parametrize("steps", [10, 50, 1000])
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_ddim_is_diffusers(
    prediction_type: PredictionType, steps: int, eta: float, thresholding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = Schedule(prediction_type=prediction_type)
    ours, theirs = THRESHOLDINGS[thresholding]
    network = Mixer(schedule)
    scheduler = DDIMScheduler(**config(schedule), set_alpha_to_one=True, **theirs)
    scheduler.set_timesteps(steps)
    # diffusers' DDIM takes the next timestep for t - T // steps: the same where steps divide T, as here.
    table = samplers.table("ddim", schedule, steps, thresholding=ours, eta=eta)
    trajectory = reference_trajectory(network, scheduler, table, monkeypatch, eta=eta)
    assert worst_difference(network, table, trajectory) < 1e-4


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_dynamic_thresholding_is_diffusers(prediction_type: PredictionType, monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    theirs = {"thresholding": True, "sample_max_value": 1e9, "dynamic_thresholding_ratio": 0.995}
    scheduler = DDPMScheduler(**config(schedule), **theirs)
    scheduler.set_timesteps(50)
    table = samplers.table("ddpm", schedule, 50, thresholding="dynamic")
    assert worst_difference(network, table, reference_trajectory(network, scheduler, table, monkeypatch)) < 1e-4


def test_ddim_at_eta_1_is_ddpm() -> None:
    """Song et al. 2021, section 4.1."""
    schedule = Schedule(prediction_type="v_prediction")
    network = Mixer(schedule)
    ddpm, ddim = (
        samplers.table(name, schedule, 50, thresholding="none", **options)
        for name, options in (("ddpm", {}), ("ddim", {"eta": 1.0}))
    )
    assert worst_difference(network, ddim, samplers.sample(network, ddpm, seed=SEED, count=COUNT)) < 1e-5  # type: ignore[arg-type]


def dpmpp_trajectory(network: Stand, scheduler: DPMSolverMultistepScheduler) -> Iterator[Tensor]:
    """x̂0 after every step of diffusers, which keeps it as the last of its model outputs."""
    x, _ = all_noise()
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = network(x, t.expand(COUNT))
        x = scheduler.step(output, t, x).prev_sample
        yield scheduler.model_outputs[-1]


@pytest.mark.filterwarnings(NUMPY_AND_DIFFUSERS)
@pytest.mark.parametrize("clipped", [True, False])
@pytest.mark.parametrize("steps", [10, 50, 1000])
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_dpmpp_2m_is_diffusers(prediction_type: PredictionType, steps: int, clipped: bool) -> None:
    """diffusers knows no clipping here, but its thresholding with a greatest value of 1 is that."""
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = DPMSolverMultistepScheduler(
        **config(schedule),
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        thresholding=clipped,
        sample_max_value=1.0,
    )
    scheduler.set_timesteps(steps)
    table = samplers.table("dpmpp_2m", schedule, steps, thresholding="static" if clipped else "none")
    assert torch.equal(table.timesteps, scheduler.timesteps)
    assert worst_difference(network, table, dpmpp_trajectory(network, scheduler)) < 1e-4


def heun_trajectory(network: Stand, scheduler: HeunDiscreteScheduler) -> Iterator[Tensor]:
    """x̂0 after every evaluation of diffusers, whose x is ours over sqrt(alphas_cumprod)."""
    x = all_noise()[0] / network.schedule.alphas_cumprod[-1].sqrt().float()  # type: ignore[union-attr, operator]
    for t in scheduler.timesteps:
        with torch.no_grad():
            output = network(scheduler.scale_model_input(x, t), t.long().expand(COUNT))
        step = scheduler.step(output, t, x)
        x = step.prev_sample
        yield step.pred_original_sample


@pytest.mark.filterwarnings(NUMPY_AND_DIFFUSERS)
@pytest.mark.parametrize("steps", [9, 49, 999])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_heun_is_diffusers(prediction_type: PredictionType, steps: int) -> None:
    """With clipping, since x̂0 of the first steps lies far outside; `steps` counts evaluations."""
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = HeunDiscreteScheduler(**config(schedule), clip_sample=True)
    scheduler.set_timesteps((steps + 1) // 2)
    table = samplers.table("heun", schedule, steps)
    assert worst_difference(network, table, heun_trajectory(network, scheduler)) < 1e-4


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
    table = samplers.table("ddpm", schedule, schedule.num_train_timesteps)
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
    table = samplers.table("ddpm", schedule, 20)
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
    kinds = (list(get_args(samplers.Thresholding)) * 4)[: 2 * len(TABLES)]
    row = torch.stack([samplers.table(name, schedule, k).coefficients[k // 2] for name in TABLES for k in (7, 90)])
    generator = torch.Generator().manual_seed(0)
    x, x0_prev, output, drawn = (3 * torch.randn(4, len(row), 3, SIZE, SIZE, generator=generator)).unbind(0)
    together = samplers.step(row, x, x0_prev, output, drawn, kinds)
    for i in range(len(row)):
        one = slice(i, i + 1)
        alone = samplers.step(row[one], x[one], x0_prev[one], output[one], drawn[one], kinds[one])
        assert torch.equal(together[0][one], alone[0])
        assert torch.equal(together[1][one], alone[1])


def test_the_last_step_is_the_clipped_image() -> None:
    schedule = Schedule()
    for name in samplers.SAMPLERS:
        last = samplers.table(name, schedule, 10).coefficients[-1:]
        x, output, drawn = torch.full((3, 1, 1, 2, 2), 2.5).unbind(0)
        x_next, x0 = samplers.step(last, x, torch.zeros_like(x), output, drawn, ["static"] * len(x))
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


@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
def test_timesteps_are_distinct_and_fall_for_every_number_of_steps(spacing: str) -> None:
    for steps in range(1, 1001):
        timesteps = samplers.SPACINGS[spacing](1000, steps)
        assert len(timesteps) == steps
        assert timesteps[0] <= 999
        assert timesteps[-1] >= 0
        assert (timesteps.diff() < 0).all(), steps
        assert spacing == "leading" or timesteps[0] == 999


@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
@given(st.data())
def test_timesteps_are_distinct_for_any_schedule(spacing: str, data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 5000))
    timesteps = samplers.SPACINGS[spacing](total, data.draw(st.integers(1, total)))
    assert timesteps[0] <= total - 1
    assert timesteps[-1] >= 0
    assert (timesteps.diff() < 0).all()


@pytest.mark.filterwarnings(NUMPY_AND_DIFFUSERS)
@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
@pytest.mark.parametrize("steps", [4, 10, 25, 50, 100, 250, 300, 500, 999, 1000])
def test_timesteps_are_diffusers(spacing: str, steps: int) -> None:
    if spacing == "trailing" and 1000 % steps:
        pytest.skip("diffusers' stride accumulates rounding here, and may give one timestep too many")
    scheduler = DDPMScheduler(**config(Schedule(), spacing))
    scheduler.set_timesteps(steps)
    assert torch.equal(samplers.SPACINGS[spacing](1000, steps), scheduler.timesteps)


def test_a_later_start_is_a_table_of_its_own() -> None:
    """Below `start` alone, with no x̂0 from before, and every number of rows that it holds."""
    for name in samplers.SAMPLERS:
        for steps in (1, 2, 30, 300):
            table = samplers.table(name, Schedule(), steps, start=300)
            assert len(table) == steps
            assert table.timesteps[0] == 299
            assert table.coefficients[0, 6] == 0


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (("ddpm", 0), "steps"),
        (("ddpm", 1001), "1000"),
        (("ddpm", -3), "steps"),
        (("euler", 10), "'euler'"),
        (("ddpm", 10, {"spacing": "karras"}), "'karras'"),
        (("ddpm", 10, {"start": 0}), "start"),
        (("ddpm", 10, {"start": 1001}), "start"),
        (("ddpm", 10, {"start": 9}), "steps"),
        (("ddim", 10, {"eta": 1.1}), "eta"),
        (("ddim", 10, {"eta": -0.1}), "eta"),
    ],
)
def test_what_no_table_can_be_made_for_is_named(call: tuple[Any, ...], named: str) -> None:
    sampler, steps, *options = call
    with pytest.raises(ValueError, match=named):
        samplers.table(sampler, Schedule(), steps, **dict(*options))


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
def test_tables_are_finite(name: str, spacing: str, steps: int) -> None:
    """Where nothing of the image is left, too: the limits are taken."""
    for schedule in (Schedule(), NOISE_ALONE, Schedule(beta_schedule="squaredcos_cap_v2")):
        table = samplers.table(name, schedule, steps, spacing=spacing)
        assert len(table) == steps
        assert table.coefficients.shape == (steps, 9)
        assert table.coefficients.dtype == torch.float64
        assert table.coefficients.isfinite().all()
        assert (table.timesteps.diff() <= 0).all()
        assert name == "heun" or (table.timesteps.diff() < 0).all()


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_nothing_of_what_was_noise_alone_is_left(name: str) -> None:
    """From zero SNR on, the exact predictor leads to N(mean, std²) all the same."""
    oracle = GaussianOracle(NOISE_ALONE, mean=0.2, std=0.15)
    table = samplers.table(name, NOISE_ALONE, 201, spacing="linspace")
    *_, x0 = samplers.sample(oracle, table, seed=3, count=16)  # type: ignore[arg-type]
    assert x0.mean().item() == pytest.approx(0.2, abs=0.01)
    assert x0.std().item() == pytest.approx(0.15, rel=0.1)


def error_on_a_gaussian(name: str, steps: int) -> float:
    """Of the end of the probability-flow ODE, which keeps how many deviations from the mean a pixel lies."""
    mean, std = 0.2, 0.5
    schedule = Schedule(num_train_timesteps=20_000, beta_start=5e-6, beta_end=1e-3)
    abar_T = schedule.alphas_cumprod[-1]
    table = samplers.table(name, schedule, steps, spacing="linspace", thresholding="none")
    x_T = torch.linspace(-2, 2, 9, dtype=torch.float64)[:, None, None, None]
    x, x0 = x_T, torch.zeros_like(x_T)
    for t, row in zip(table.timesteps, table.coefficients, strict=True):
        abar = schedule.alphas_cumprod[t]
        expected_x0 = mean + abar.sqrt() * std**2 / (abar * std**2 + 1 - abar) * (x - abar.sqrt() * mean)
        eps = (x - abar.sqrt() * expected_x0) / (1 - abar).sqrt()
        x, x0 = samplers.step(row.expand(9, -1), x, x0, eps, torch.zeros_like(x), ["none"] * 9)
    exact = mean + std * (x_T - abar_T.sqrt() * mean) / (abar_T * std**2 + 1 - abar_T).sqrt()
    return (x - exact).abs().max().item()


@pytest.mark.parametrize(("name", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("heun", 2)])
def test_samplers_converge_at_the_order_they_claim(name: str, order: int) -> None:
    """Twice the steps divide the error by 2 to the order; Heun takes an odd number of evaluations."""
    errors = [error_on_a_gaussian(name, steps + (name == "heun")) for steps in (40, 80, 160, 320)]
    observed = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert min(observed) > order - 0.3
    assert errors[-1] < {1: 1e-2, 2: 4e-3}[order]
