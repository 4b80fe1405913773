"""Whole trajectories against diffusers' schedulers, given the same network and the same noise."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, HeunDiscreteScheduler
from diffusers.schedulers import scheduling_ddim, scheduling_ddpm
from torch import Tensor

from model.sampling import noise, samplers
from model.sampling.schedule import PredictionType, Schedule
from tests.model.predictors import SIZE, Mixer, Predictor

SEED, COUNT = 2**64 - 3, 4
NUMPY_AND_DIFFUSERS = "ignore:__array__ implementation:DeprecationWarning"  # diffusers makes arrays of tensors
VARIANCES = {"ddpm": "fixed_small", "ddpm_beta": "fixed_large"}  # our name: diffusers' variance_type


def config(schedule: Schedule, spacing: str = "trailing") -> dict[str, Any]:
    """The arguments that every scheduler of diffusers takes."""
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


def worst_difference(network: Predictor, table: samplers.Table, theirs: Iterator[Tensor]) -> float:
    """The largest difference between our x̂0 and theirs over the whole trajectory; each x_t follows from x̂0."""
    ours = list(samplers.sample(network, table, seed=SEED, count=COUNT))
    expected = list(theirs)
    assert len(ours) == len(expected) == len(table)
    return max((a - b).abs().max().item() for a, b in zip(ours, expected, strict=True))


def reference_trajectory(
    network: Predictor, scheduler: Any, table: samplers.Table, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> Iterator[Tensor]:
    """x̂0 after every step of diffusers, given our noise in place of its own."""
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
    """The last x̂0 is the image. (With fixed_large and fewer steps than T, diffusers adds noise to it once more,
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
    assert worst_difference(network, ddim, samplers.sample(network, ddpm, seed=SEED, count=COUNT)) < 1e-5


def dpmpp_trajectory(network: Predictor, scheduler: DPMSolverMultistepScheduler) -> Iterator[Tensor]:
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
    """diffusers has no clipping here; its thresholding with sample_max_value 1 is the same."""
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


def heun_trajectory(network: Predictor, scheduler: HeunDiscreteScheduler) -> Iterator[Tensor]:
    """x̂0 after every evaluation of diffusers, whose x is ours over sqrt(alphas_cumprod)."""
    x = all_noise()[0] / network.schedule.alphas_cumprod[int(scheduler.timesteps[0])].sqrt().float()
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
    """With clipping, since x̂0 of the first steps is far outside ±1; `steps` counts evaluations."""
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = HeunDiscreteScheduler(**config(schedule), clip_sample=True)
    scheduler.set_timesteps((steps + 1) // 2)
    table = samplers.table("heun", schedule, steps)
    assert worst_difference(network, table, heun_trajectory(network, scheduler)) < 1e-4


# (spacing, steps, start): the spacings over the whole schedule, and the later starts of image-to-image.
PLANS = [
    ("leading", 50, 1000),
    ("linspace", 50, 1000),
    ("trailing", 50, 500),
    ("leading", 30, 300),
    ("linspace", 40, 600),
    ("trailing", 7, 100),
]


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize(("spacing", "steps", "start"), PLANS)
@pytest.mark.parametrize("sampler", sorted(VARIANCES))
def test_ddpm_with_every_spacing_and_later_starts_is_diffusers(
    sampler: str,
    spacing: str,
    steps: int,
    start: int,
    prediction_type: PredictionType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a chain starts later, diffusers is given its timesteps."""
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = DDPMScheduler(**config(schedule, spacing), variance_type=VARIANCES[sampler])
    table = samplers.table(sampler, schedule, steps, spacing=spacing, start=start)
    if start == schedule.num_train_timesteps:
        scheduler.set_timesteps(steps)
    else:
        scheduler.set_timesteps(timesteps=table.timesteps.tolist())
    assert worst_difference(network, table, reference_trajectory(network, scheduler, table, monkeypatch)) < 1e-4


@pytest.mark.parametrize("eta", [0.0, 0.4])
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize(
    ("spacing", "steps", "start"), [("leading", 50, 1000), ("trailing", 50, 500), ("leading", 30, 300)]
)
def test_ddim_with_leading_spacing_and_later_starts_is_diffusers(
    spacing: str,
    steps: int,
    start: int,
    prediction_type: PredictionType,
    eta: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """diffusers' DDIM takes the next timestep for t - T // steps, so linspace, whose strides differ, has no match."""
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = DDIMScheduler(**config(schedule, spacing), set_alpha_to_one=True)
    scheduler.set_timesteps(steps * schedule.num_train_timesteps // start)  # of the whole schedule, at the same stride
    scheduler.timesteps = scheduler.timesteps[-steps:]
    table = samplers.table("ddim", schedule, steps, spacing=spacing, start=start, eta=eta)
    trajectory = reference_trajectory(network, scheduler, table, monkeypatch, eta=eta)
    assert worst_difference(network, table, trajectory) < 1e-4


@pytest.mark.filterwarnings(NUMPY_AND_DIFFUSERS)
@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
@pytest.mark.parametrize(("spacing", "steps", "start"), PLANS)
def test_dpmpp_2m_with_every_spacing_and_later_starts_is_diffusers(
    spacing: str, steps: int, start: int, prediction_type: PredictionType
) -> None:
    """diffusers is given the timesteps: its own leading and linspace leave the last one out for this sampler."""
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = DPMSolverMultistepScheduler(
        **config(schedule),
        algorithm_type="dpmsolver++",
        solver_order=2,
        solver_type="midpoint",
        final_sigmas_type="zero",
        thresholding=True,
        sample_max_value=1.0,
    )
    table = samplers.table("dpmpp_2m", schedule, steps, spacing=spacing, start=start)
    scheduler.set_timesteps(timesteps=table.timesteps.tolist())
    assert worst_difference(network, table, dpmpp_trajectory(network, scheduler)) < 1e-4


@pytest.mark.filterwarnings(NUMPY_AND_DIFFUSERS)
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("spacing", "nodes", "start"), PLANS)
def test_heun_with_every_spacing_and_later_starts_is_diffusers(
    spacing: str, nodes: int, start: int, prediction_type: PredictionType
) -> None:
    schedule = Schedule(prediction_type=prediction_type)
    network = Mixer(schedule)
    scheduler = HeunDiscreteScheduler(**config(schedule), clip_sample=True)
    scheduler.set_timesteps(timesteps=samplers.SPACINGS[spacing](start, nodes).tolist())
    table = samplers.table("heun", schedule, 2 * nodes - 1, spacing=spacing, start=start)
    assert worst_difference(network, table, heun_trajectory(network, scheduler)) < 1e-4


def test_compared_images_are_not_trivial() -> None:
    """The images compared above are neither clipped flat nor equal to each other."""
    network = Mixer(Schedule())
    table = samplers.table("ddpm", Schedule(), 50)
    *_, x0 = samplers.sample(network, table, seed=SEED, count=COUNT)
    assert (x0.abs() < 1).float().mean() > 0.2
    assert x0.std(dim=0).min() > 0.01
