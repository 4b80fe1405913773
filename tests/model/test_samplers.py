"""The samplers' tables: their rows, their timesteps, and the update rule."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from diffusers import DDPMScheduler
from hypothesis import given
from hypothesis import strategies as st

from model.sampling import samplers
from model.sampling.schedule import PredictionType, Schedule
from tests.model.predictors import SIZE, Mixer

TABLES = sorted(samplers.SAMPLERS)
ZERO_SNR = Schedule(prediction_type="v_prediction", rescale_betas_zero_snr=True)


def test_ddpm_rows_are_the_papers_formula() -> None:
    """Ho et al. 2020, algorithm 2, line 4, in terms of eps; without clipping it is the same line."""
    schedule = Schedule()
    table = samplers.table("ddpm", schedule, schedule.num_train_timesteps)
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    abar = torch.cumprod(1 - betas, 0)
    by_t = samplers.Columns(*(column.flip(0) for column in table.columns))
    alpha = 1 - betas
    torch.testing.assert_close(by_t.x + by_t.x0 * by_t.x0_from_x, 1 / alpha.sqrt())  # the coefficient of x_t
    torch.testing.assert_close(by_t.x0 * by_t.x0_from_output, -betas / (alpha.sqrt() * (1 - abar).sqrt()))  # and of eps
    sigma = (betas[1:] * (1 - abar[:-1]) / (1 - abar[1:])).sqrt()
    torch.testing.assert_close(by_t.noise[1:], sigma)
    assert by_t.noise[0] == 0
    assert not by_t.x0_prev.any()
    assert not by_t.eps.any()
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
    of = samplers.Columns(*table.coefficients[:, :, None, None, None].unbind(1))
    torch.testing.assert_close(of.x0_from_x * x_t + of.x0_from_output * output, x0)
    torch.testing.assert_close(of.eps_from_x * x_t + of.eps_from_output * output, eps)


def test_columns_are_the_coefficients_by_name() -> None:
    """The names are those of the update rule: a term with coefficient 1 and all others 0 is that term."""
    terms = dict(zip(("x", "x0_prev", "output", "noise"), torch.randn(4, 1, 1, 2, 2).unbind(0), strict=True))
    for name in ("x", "x0_prev", "noise"):
        row = torch.tensor([[float(column == name) for column in samplers.Columns._fields]])
        x, _ = samplers.step(row, terms["x"], terms["x0_prev"], terms["output"], terms["noise"], ["none"])
        assert torch.equal(x, terms[name])
    table = samplers.table("ddim", Schedule(), 10, eta=0.5)
    for column, name in enumerate(samplers.Columns._fields):
        assert torch.equal(getattr(table.columns, name), table.coefficients[:, column])
    assert torch.equal(table.noise, table.columns.noise)


def test_rows_of_different_tables_in_one_step_change_no_bit() -> None:
    """Each image is the same in a batch of other samplers, step counts and thresholdings as alone."""
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


def test_last_step_returns_the_clipped_x0() -> None:
    schedule = Schedule()
    for name in samplers.SAMPLERS:
        last = samplers.table(name, schedule, 10).coefficients[-1:]
        x, output, drawn = torch.full((3, 1, 1, 2, 2), 2.5).unbind(0)
        x_next, x0 = samplers.step(last, x, torch.zeros_like(x), output, drawn, ["static"] * len(x))
        assert torch.equal(x_next, x0)
        assert x0.abs().max() <= 1


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
def test_first_row_uses_no_x0_of_a_step_before(name: str) -> None:
    """So image-to-image may start at any timestep."""
    assert samplers.table(name, Schedule(), 10).columns.x0_prev[0] == 0


def test_sampling_yields_every_step_and_is_determined_by_the_seed() -> None:
    network = Mixer(Schedule())
    table = samplers.table("ddpm", Schedule(), 12)
    first, again = (list(samplers.sample(network, table, seed=5, count=3)) for _ in range(2))
    other = list(samplers.sample(network, table, seed=6, count=3))
    assert len(first) == len(table) == 12
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[-1], other[-1])
    assert first[-1].shape == (3, 3, SIZE, SIZE)


def test_guidance_is_the_papers_formula() -> None:
    """Ho & Salimans 2022, eq. 6: (1 + w)·conditional - w·unconditional, with w = scale - 1."""
    generator = torch.Generator().manual_seed(0)
    conditional, unconditional = torch.randn(2, 3, 1, 2, 2, generator=generator).unbind(0)
    w = torch.tensor([0.0, 1.5, -1.0])[:, None, None, None]
    guided = samplers.guide(conditional, unconditional, w + 1)
    torch.testing.assert_close(guided, (1 + w) * conditional - w * unconditional)
    torch.testing.assert_close(guided[0], conditional[0])  # scale 1: no guidance
    assert torch.equal(guided[2], unconditional[2])  # scale 0: no class


@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
def test_timesteps_are_distinct_and_falling_for_every_number_of_steps(spacing: str) -> None:
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


def test_table_with_a_start_holds_timesteps_below_it() -> None:
    """For every number of rows up to `start`; the first row uses no x̂0 of a step before."""
    for name in samplers.SAMPLERS:
        for steps in (1, 2, 30, 300):
            table = samplers.table(name, Schedule(), steps, start=300)
            assert len(table) == steps
            assert table.timesteps[0] == 299
            assert table.columns.x0_prev[0] == 0


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
def test_bad_argument_of_table_is_refused_by_name(call: tuple[Any, ...], named: str) -> None:
    sampler, steps, *options = call
    with pytest.raises(ValueError, match=named):
        samplers.table(sampler, Schedule(), steps, **dict(*options))


@pytest.mark.parametrize("name", sorted(samplers.SAMPLERS))
@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 1000])
def test_tables_are_finite(name: str, spacing: str, steps: int) -> None:
    """At zero SNR as well, where the coefficients are limits."""
    for schedule in (Schedule(), ZERO_SNR, Schedule(beta_schedule="squaredcos_cap_v2")):
        table = samplers.table(name, schedule, steps, spacing=spacing)
        assert len(table) == steps
        assert table.coefficients.shape == (steps, 9)
        assert table.coefficients.dtype == torch.float64
        assert table.coefficients.isfinite().all()
        assert (table.timesteps.diff() <= 0).all()
        assert name == "heun" or (table.timesteps.diff() < 0).all()


@pytest.mark.parametrize("spacing", sorted(samplers.SPACINGS))
@pytest.mark.parametrize("steps", [4, 10, 25, 50, 100, 250, 300, 500, 999, 1000])
def test_timesteps_are_diffusers(spacing: str, steps: int) -> None:
    scheduler = DDPMScheduler(timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    # Their stride for trailing steps accumulates rounding, and may give one timestep too many at the end.
    assert torch.equal(samplers.SPACINGS[spacing](1000, steps), scheduler.timesteps[:steps])
