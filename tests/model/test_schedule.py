"""The schedule against its papers' formulas in float64 and diffusers' `DDPMScheduler`, and q in two ways."""

from __future__ import annotations

import inspect
import math
import re
from typing import Any, get_args

import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddpm import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr
from torch import Tensor

from model.sampling.schedule import BETA_SCHEDULES, PredictionType, Schedule

SCHEDULES = [
    pytest.param({}, id="ho-2020"),
    pytest.param({"beta_start": 0.001, "beta_end": 0.1, "num_train_timesteps": 200}, id="short"),
    pytest.param({"beta_start": 0.05, "beta_end": 0.05, "num_train_timesteps": 1}, id="one-step"),
    pytest.param(
        {"trained_betas": tuple(0.01 + 0.002 * t for t in range(50)), "num_train_timesteps": 50}, id="trained"
    ),
    *(pytest.param({"beta_schedule": name}, id=name) for name in sorted(BETA_SCHEDULES)),
    *(pytest.param({"beta_schedule": name, "num_train_timesteps": 37}, id=f"{name}-37") for name in BETA_SCHEDULES),
    *(
        pytest.param(
            {"beta_schedule": name, "rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
            id=f"{name}-zero-snr",
        )
        for name in sorted(BETA_SCHEDULES)
    ),
]


def exact_betas(schedule: Schedule) -> list[float]:
    """Betas by their papers' formulas, in Python's float64, before any rescaling to zero terminal SNR."""
    T, start, end = schedule.num_train_timesteps, schedule.beta_start, schedule.beta_end
    share = [t / max(T - 1, 1) for t in range(T)]  # 0 to 1

    def cosine(u: float) -> float:
        return math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2

    def laplace(u: float) -> float:
        log_snr = -0.5 * math.copysign(1, 0.5 - u) * math.log(1 - 2 * abs(0.5 - u) + 1e-6)
        return math.sqrt(1 / (1 + math.exp(-log_snr)))

    if schedule.trained_betas is not None:
        return list(schedule.trained_betas)
    betas = {
        "linear": lambda: [start + (end - start) * u for u in share],
        "scaled_linear": lambda: [(start**0.5 + (end**0.5 - start**0.5) * u) ** 2 for u in share],
        "sigmoid": lambda: [start + (end - start) / (1 + math.exp(6 - 12 * u)) for u in share],
        "squaredcos_cap_v2": lambda: [min(1 - cosine((t + 1) / T) / cosine(t / T), 0.999) for t in range(T)],
        "laplace": lambda: [min(1 - laplace((t + 1) / T) / laplace(t / T), 0.999) for t in range(T)],
    }
    return betas[schedule.beta_schedule]()


def exact_alphas_cumprod(schedule: Schedule) -> Tensor:
    """(T,) float64; rescaling is diffusers' own, which computes in the type that it is given."""
    betas = torch.tensor(exact_betas(schedule), dtype=torch.float64)
    return torch.cumprod(1 - (rescale_zero_terminal_snr(betas) if schedule.rescale_betas_zero_snr else betas), dim=0)


def reference(schedule: Schedule) -> DDPMScheduler:
    return DDPMScheduler(
        num_train_timesteps=schedule.num_train_timesteps,
        beta_start=schedule.beta_start,
        beta_end=schedule.beta_end,
        beta_schedule=schedule.beta_schedule,
        trained_betas=schedule.trained_betas,
        prediction_type=schedule.prediction_type,
        rescale_betas_zero_snr=schedule.rescale_betas_zero_snr,
    )


def exact_reference(schedule: Schedule) -> DDPMScheduler:
    """diffusers' scheduler on the exact table: its own is float32, whose last bits differ by processor."""
    scheduler = reference(schedule)
    scheduler.alphas_cumprod = exact_alphas_cumprod(schedule)
    return scheduler


def draw(schedule: Schedule, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """x0, t and noise of a batch; the first and the last timestep are in it."""
    generator = torch.Generator().manual_seed(seed)
    x0, noise = (
        torch.rand(8, 3, 4, 4, generator=generator) * 2 - 1,
        torch.randn(8, 3, 4, 4, generator=generator),
    )
    t = torch.randint(schedule.num_train_timesteps, (8,), generator=generator)
    t[0], t[1] = 0, schedule.num_train_timesteps - 1
    return x0, t, noise


@pytest.mark.parametrize("fields", SCHEDULES)
def test_alphas_cumprod_is_the_papers_formula(fields: dict[str, Any]) -> None:
    schedule = Schedule(**fields)
    torch.testing.assert_close(schedule.alphas_cumprod, exact_alphas_cumprod(schedule), atol=1e-12, rtol=0)
    betas = torch.tensor(exact_betas(schedule), dtype=torch.float64)
    if schedule.rescale_betas_zero_snr:
        betas = rescale_zero_terminal_snr(betas)
    torch.testing.assert_close(schedule.betas, betas, atol=1e-12, rtol=0)


@pytest.mark.parametrize("fields", SCHEDULES)
def test_alphas_cumprod_is_diffusers(fields: dict[str, Any]) -> None:
    """To the error of float32, in which diffusers computes: each of T factors, and each product, is rounded once."""
    schedule = Schedule(**fields)
    T = schedule.num_train_timesteps
    theirs = reference(schedule).alphas_cumprod.double()
    torch.testing.assert_close(schedule.alphas_cumprod, theirs, atol=2 * T * 2**-24, rtol=0)


@pytest.mark.parametrize("beta_schedule", sorted(BETA_SCHEDULES))
def test_zero_terminal_snr_ends_at_0_and_starts_where_it_did(beta_schedule: str) -> None:
    schedule = Schedule(beta_schedule=beta_schedule, prediction_type="v_prediction", rescale_betas_zero_snr=True)
    assert schedule.alphas_cumprod[-1] == 0
    before = Schedule(beta_schedule=beta_schedule)
    torch.testing.assert_close(schedule.alphas_cumprod[0], before.alphas_cumprod[0])


def test_prior_kl_is_the_papers_1e_5_bits() -> None:
    """Ho et al. 2020, section 4: D_KL(q(x_T|x_0) || N(0, I)) is about 1e-5 bits a dimension; here of |x0| = 1/2."""
    last = Schedule().alphas_cumprod[-1]
    variance, mean = 1 - last, 0.5 * last.sqrt()
    bits = 0.5 * (variance + mean**2 - 1 - variance.log()) / math.log(2)
    assert 0.5e-5 < bits < 2e-5


@pytest.mark.parametrize("fields", SCHEDULES)
def test_q_sample_is_add_noise_of_diffusers_in_float64(fields: dict[str, Any]) -> None:
    schedule = Schedule(**fields)
    x0, t, noise = draw(schedule)
    expected = exact_reference(schedule).add_noise(x0.double(), noise.double(), t)
    torch.testing.assert_close(schedule.q_sample(x0.double(), t, noise.double()), expected, atol=1e-12, rtol=0)
    # |x_t| is below 8: two products, their sum and two coefficients, each rounded to float32.
    torch.testing.assert_close(schedule.q_sample(x0, t, noise).double(), expected, atol=5 * 8 * 2**-24, rtol=0)


@pytest.mark.parametrize("steps", [1, 10, 300])
def test_iterated_q_step_has_the_moments_of_q_sample(steps: int) -> None:
    """Ho et al. 2020: eq. 2 iterated has the mean and variance of eq. 4."""
    schedule = Schedule(beta_start=1e-3, beta_end=0.02, num_train_timesteps=300)
    generator = torch.Generator().manual_seed(steps)
    pixels = 200_000
    x = torch.full((1, 1, 1, pixels), 0.7)
    for t in range(steps):
        noise = torch.randn(x.shape, generator=generator)
        x = schedule.q_step(x, torch.tensor([t]), noise)
    abar = torch.cumprod(1 - torch.linspace(1e-3, 0.02, 300, dtype=torch.float64), 0)[steps - 1].item()
    mean, variance = 0.7 * abar**0.5, 1 - abar
    # Five standard errors of a normal's sample mean and sample variance.
    assert abs(x.mean().item() - mean) < 5 * (variance / pixels) ** 0.5
    assert abs(x.var().item() - variance) < 5 * variance * (2 / pixels) ** 0.5


def test_q_step_at_0_is_q_sample_at_0() -> None:
    schedule = Schedule()
    x0, _, noise = draw(schedule)
    t = torch.zeros(len(x0), dtype=torch.int64)
    torch.testing.assert_close(schedule.q_step(x0, t, noise), schedule.q_sample(x0, t, noise))


def test_target_is_what_the_prediction_type_says() -> None:
    x0, t, noise = draw(Schedule())
    assert torch.equal(Schedule(prediction_type="epsilon").target(x0, t, noise), noise)
    assert torch.equal(Schedule(prediction_type="sample").target(x0, t, noise), x0)
    v = Schedule(prediction_type="v_prediction")
    expected = exact_reference(v).get_velocity(x0.double(), noise.double(), t)
    torch.testing.assert_close(v.target(x0.double(), t, noise.double()), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("prediction_type", get_args(PredictionType))
def test_min_snr_weights_are_those_of_diffusers_training_scripts(prediction_type: PredictionType) -> None:
    """Hang et al. 2023; diffusers computes the SNR, and its scripts divide by it, or by SNR + 1."""
    schedule = Schedule(prediction_type=prediction_type)
    snr = compute_snr(exact_reference(schedule), torch.arange(1000))
    least = torch.minimum(snr, torch.tensor(5.0))
    expected = {"epsilon": least / snr, "sample": least, "v_prediction": least / (snr + 1)}[prediction_type]
    torch.testing.assert_close(schedule.min_snr_weights(5.0).float(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_results_have_the_dtype_of_the_image(dtype: torch.dtype) -> None:
    schedule = Schedule(prediction_type="v_prediction")
    x0, t, noise = draw(schedule)
    x0, noise = x0.to(dtype), noise.to(dtype)
    for result in (
        schedule.q_sample(x0, t, noise),
        schedule.q_step(x0, t, noise),
        schedule.target(x0, t, noise),
    ):
        assert result.dtype == dtype


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"num_train_timesteps": 0}, "num_train_timesteps"),
        ({"beta_start": 0.0}, "beta"),
        ({"beta_start": 0.03}, "beta"),
        ({"beta_end": 1.0}, "beta"),
        ({"beta_schedule": "sawtooth"}, "'sawtooth'"),
        ({"prediction_type": "flow"}, "'flow'"),
        ({"trained_betas": (0.1, 0.2)}, "num_train_timesteps=1000, not 2"),
        ({"trained_betas": (0.1, 1.0), "num_train_timesteps": 2}, "trained_betas"),
        ({"trained_betas": (0.0, 0.1), "num_train_timesteps": 2}, "trained_betas"),
        ({"trained_betas": (math.nan, 0.1), "num_train_timesteps": 2}, "trained_betas"),
        ({"rescale_betas_zero_snr": True}, "v_prediction"),
        (
            {"rescale_betas_zero_snr": True, "prediction_type": "sample", "num_train_timesteps": 1},
            "num_train_timesteps",
        ),
    ],
)
def test_bad_field_is_refused_by_name(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Schedule(**fields)


def test_beta_schedules_are_all_that_diffusers_has() -> None:
    """Of DDPMScheduler, by its source, since its annotation leaves `laplace` out."""
    source = inspect.getsource(DDPMScheduler.__init__)
    assert set(re.findall(r'beta_schedule == "(\w+)"', source)) == set(BETA_SCHEDULES)
