"""Figures: no part of them is empty, and their numbers and labels are right."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from model import data, images
from model.evaluation import figures
from model.sampling import samplers
from model.sampling.schedule import Schedule

SCHEDULE = Schedule(num_train_timesteps=50, beta_end=0.2)


@pytest.fixture(scope="module")
def digits() -> Tensor:
    return images.from_uint8(data.load("digits").images[:20])


def oracle(x_t: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
    """eps under N(0, 0.5²)."""
    abar = SCHEDULE.alphas_cumprod.float()[t][:, None, None, None]
    return x_t * (1 - abar).sqrt() / (abar * 0.25 + 1 - abar)


@pytest.fixture(scope="module")
def run() -> figures.Trajectory:
    table = samplers.table("ddpm", SCHEDULE, 50, thresholding="none")
    steps = samplers.trajectory(oracle, table, (1, 8, 8), seed=0, indices=torch.arange(9), labels=None)
    return figures.Trajectory(steps, table.timesteps, kept=10)


def assert_drawn(png: bytes) -> None:
    """As wide as a README shows it, with more than ten grey levels in each third."""
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    assert picture.width == 840
    for third in np.array_split(np.asarray(picture.convert("L")), 3, axis=1):
        assert len(np.unique(third)) > 10


def test_every_figure_is_drawn(digits: Tensor, run: figures.Trajectory) -> None:
    losses = [1 / (i + 1) for i in range(100)]
    for png in (
        figures.loss_curve(losses),
        figures.loss_curve(losses, steps_per_epoch=10),
        figures.loss_curve(losses[:1]),
        figures.noise_schedule(SCHEDULE),
        figures.noise_schedule(Schedule(prediction_type="v_prediction", rescale_betas_zero_snr=True)),
        figures.forward_process(digits[0], SCHEDULE),
        figures.one_step(oracle, digits[:3], None, SCHEDULE),
        figures.reverse_process(run),
        figures.intensity(run),
        figures.pixel_histograms(digits, run.x0[-1]),
        figures.real_beside_generated(digits[:9], run.x0[-1]),
    ):
        assert_drawn(png)


@pytest.mark.parametrize(
    ("weighting", "label"), [("none", "loss"), ("min-SNR, gamma 5", "loss, weighted by min-SNR, gamma 5")]
)
def test_loss_curve_labels_its_axis_with_the_weighting(
    weighting: str, label: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    class Canvas(FigureCanvasAgg):
        def __init__(self, figure: Figure) -> None:
            drawn.append(figure)
            super().__init__(figure)

    monkeypatch.setattr(figures, "FigureCanvasAgg", Canvas)
    figures.loss_curve([0.5, 0.4], weighting=weighting)
    assert drawn[0].axes[0].get_ylabel() == label


def test_colour_images_are_drawn_in_colour(digits: Tensor) -> None:
    red = torch.tensor([1.0, -1.0, -1.0])[:, None, None].expand(3, 8, 8)
    pixels = np.asarray(Image.open(io.BytesIO(figures.forward_process(red, SCHEDULE))).convert("RGB")).reshape(-1, 3)
    assert ((pixels[:, 0] > 240) & (pixels[:, 1] < 20)).any()


def test_trajectory_goes_from_noise_to_the_data_distribution(run: figures.Trajectory) -> None:
    """From N(0, 1) at the first step to N(0, 0.5²) at the last, where x equals x̂0."""
    assert len(run.mean) == len(run.spread) == len(run.all_timesteps) == 50
    assert run.timesteps[0] == 49
    assert run.timesteps[-1] == 0
    assert len(run.x) == len(run.x0) == 10
    assert run.spread[0] == pytest.approx(1, abs=0.15)
    assert run.spread[-1] == pytest.approx(0.5, abs=0.1)
    assert torch.equal(run.x[-1], run.x0[-1])
    assert run.x[3].std().item() == pytest.approx(run.spread[round(3 * 49 / 9)], rel=1e-5)


def test_animation_ends_with_the_result(run: figures.Trajectory) -> None:
    animation = Image.open(io.BytesIO(figures.animation(run)))
    assert animation.format == "GIF"
    assert animation.n_frames == 10
    animation.seek(9)
    factor = animation.width // 26
    shown = np.asarray(animation.convert("L"))[factor // 2 :: factor, factor // 2 :: factor]
    expected = images.grid(images.to_uint8(run.x[-1]))[0].numpy()
    assert np.abs(shown.astype(int) - expected).max() <= 2
