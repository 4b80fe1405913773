"""Figures of a model's data, training and sampling.

Each is a PNG (or GIF) as bytes, in one style, with text that stays legible at the width of a README.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from model import images
from model.sampling import samplers
from model.sampling.schedule import Schedule

Predictor = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # (x_t, t, labels) -> the network's output

MAX_POINTS = 200  # maximum points of a smoothed curve
DPI = 120
WIDTH = 7.0  # inches
BINS = 64
SHARES = (0.25, 0.5, 0.75, 1.0)  # shares of the schedule at which one_step starts
GIF_SIDE = 300
GIF_FRAMES = 30
GIF_COLOURS = 16  # colours of all frames but the last: quarters the bytes of noise, which does not compress
GIF_FRAME_MS, GIF_LAST_FRAME_MS = 120, 2000


def loss_curve(losses: Sequence[float], steps_per_epoch: int | None = None, *, weighting: str = "none") -> bytes:
    """The loss of every training step, its running mean and, if epochs are known, the mean of each epoch.

    weighting  the name of the loss's weighting, for the axis label; "none" is the plain mean squared error
    """
    window = max(1, len(losses) // MAX_POINTS)
    with _figure(3.5) as (figure, png):
        axes = figure.add_subplot()
        axes.plot(range(1, len(losses) + 1), losses, color="0.8", linewidth=0.5, label="each step")
        _means(axes, losses, window, color="tab:blue", label=f"mean of {window} steps")
        if steps_per_epoch is not None and len(losses) >= 2 * steps_per_epoch:
            _means(axes, losses, steps_per_epoch, color="tab:red", marker="o", markersize=3, label="mean of each epoch")
        label = "loss" if weighting == "none" else f"loss, weighted by {weighting}"
        axes.set(xlabel="step", ylabel=label, yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    return png.getvalue()


def noise_schedule(schedule: Schedule) -> bytes:
    """Coefficients of image and noise in x_t, the betas, and the signal-to-noise ratio, by timestep."""
    abar = schedule.alphas_cumprod
    with _figure(2.6) as (figure, png):
        left, middle, right = figure.subplots(1, 3)
        left.plot(abar.sqrt(), label="image, √ᾱ")
        left.plot((1 - abar).sqrt(), label="noise, √(1 - ᾱ)")
        left.set(title="coefficients in x_t", xlabel="timestep")
        left.legend(fontsize=8, loc="center right")
        middle.plot(schedule.betas)
        middle.set(title="beta", xlabel="timestep")
        right.plot((abar / (1 - abar)).clamp(min=1e-8).log10())
        right.set(title="log10 of the SNR", xlabel="timestep")
        for axes in (left, middle, right):
            axes.grid(alpha=0.3)
    return png.getvalue()


def forward_process(x0: Tensor, schedule: Schedule, columns: int = 8, seed: int = 0) -> bytes:
    """A real image (C, H, W) as noise is added to it, and the histogram of its pixels below."""
    t = torch.linspace(0, schedule.num_train_timesteps - 1, columns).round().long()
    noise = torch.randn(columns, *x0.shape, generator=torch.Generator().manual_seed(seed))
    x_t = schedule.q_sample(x0.expand(columns, -1, -1, -1), t, noise)
    with _figure(2.4) as (figure, png):
        for i, (above, below) in enumerate(zip(*figure.subplots(2, columns), strict=True)):
            _show(above, x_t[i], f"t = {t[i]}")
            below.hist(x_t[i].flatten().numpy(), bins=BINS, range=(-3, 3), color="0.3")
            below.set(yticks=[], xticks=[-2, 0, 2])
    return png.getvalue()


@torch.no_grad()
def one_step(
    predict: Predictor,
    x0: Tensor,
    labels: Tensor | None,
    schedule: Schedule,
    seed: int = 0,
) -> bytes:
    """Noised images (N, C, H, W) and their x̂0 after a single network evaluation, at each of SHARES."""
    generator = torch.Generator().manual_seed(seed)
    rows: list[tuple[str, Tensor]] = [("original", x0)]
    for share in SHARES:
        start = max(1, round(share * schedule.num_train_timesteps))
        table = samplers.table("ddim", schedule, 1, start=start)
        t = table.timesteps.expand(len(x0))
        x_t = schedule.q_sample(x0, t, torch.randn(x0.shape, generator=generator))
        P, Q = table.coefficients[0, :2].float()
        output = (P * x_t + Q * predict(x_t, t, labels).float()).clamp(-1, 1)
        rows += [(f"{share:.0%} noise", x_t), ("one step", output)]
    with _figure(WIDTH * len(rows) / (len(x0) + 1.5)) as (figure, png):
        for line, (name, row) in zip(figure.subplots(len(rows), len(x0)), rows, strict=True):
            for axes, image in zip(line, row, strict=True):
                _show(axes, image)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return png.getvalue()


class Trajectory:
    """A reverse process: x and x̂0 (N, C, H, W) of `kept` steps, and pixel mean and standard deviation of all."""

    def __init__(self, steps: Iterator[tuple[Tensor, Tensor]], timesteps: Tensor, kept: int) -> None:
        wanted = {round(i * (len(timesteps) - 1) / (kept - 1)) for i in range(kept)}
        self.x, self.x0, self.timesteps = [], [], []
        self.all_timesteps, self.mean, self.spread = timesteps, [], []
        for row, (x, x0) in enumerate(steps):
            self.mean.append(x.mean().item())
            self.spread.append(x.std().item())
            if row in wanted:
                self.x.append(x)
                self.x0.append(x0)
                self.timesteps.append(int(timesteps[row]))


def reverse_process(run: Trajectory, count: int = 6, columns: int = 10) -> bytes:
    """x_t and, below it, x̂0 along the reverse process; two rows per image."""
    chosen = [round(i * (len(run.x) - 1) / (columns - 1)) for i in range(columns)]
    with _figure(WIDTH * count * 2 / (columns + 1)) as (figure, png):
        grid = figure.subplots(2 * count, columns)
        for column, at in enumerate(chosen):
            for i in range(count):
                _show(grid[2 * i][column], run.x[at][i], f"t = {run.timesteps[at]}" if i == 0 else "")
                _show(grid[2 * i + 1][column], run.x0[at][i])
        for i in range(count):
            grid[2 * i][0].set_ylabel("x_t", rotation=0, ha="right", va="center")
            grid[2 * i + 1][0].set_ylabel("x̂0", rotation=0, ha="right", va="center")
    return png.getvalue()


def intensity(run: Trajectory) -> bytes:
    """Mean and standard deviation of all pixels along the reverse process, from noise on the left."""
    mean, spread = torch.tensor(run.mean), torch.tensor(run.spread)
    with _figure(2.8) as (figure, png):
        axes = figure.add_subplot()
        axes.plot(run.all_timesteps, mean, label="mean")
        axes.fill_between(run.all_timesteps, mean - spread, mean + spread, alpha=0.2, label="± one standard deviation")
        axes.set(xlabel="timestep", ylabel="pixels of x_t")
        axes.invert_xaxis()
        axes.grid(alpha=0.3)
        axes.legend()
    return png.getvalue()


def pixel_histograms(real: Tensor, generated: Tensor) -> bytes:
    """Histograms of pixel intensity in real and in generated images (N, C, H, W)."""
    with _figure(2.8) as (figure, png):
        axes = figure.add_subplot()
        for x, name in ((real, "real"), (generated, "generated")):
            axes.hist(
                x.flatten().numpy(), BINS, range=(-1, 1), density=True, histtype="step", linewidth=1.5, label=name
            )
        axes.set(xlabel="intensity, from black to white", ylabel="density", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    return png.getvalue()


def real_beside_generated(real: Tensor, generated: Tensor) -> bytes:
    """A grid of real and a grid of generated images (N, C, H, W)."""
    with _figure(3.7) as (figure, png):
        for axes, x, name in zip(figure.subplots(1, 2), (real, generated), ("real", "generated"), strict=True):
            _show(axes, images.from_uint8(images.grid(images.to_uint8(x))), name)
    return png.getvalue()


def animation(run: Trajectory) -> bytes:
    """The reverse process of all images as a GIF of x_t, which pauses at the result."""
    sheets = [images.to_pil(images.grid(images.to_uint8(x))) for x in run.x]
    factor = max(1, GIF_SIDE // sheets[0].width)
    large = [sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST) for sheet in sheets]
    large = [sheet.quantize(GIF_COLOURS, dither=Image.Dither.NONE) for sheet in large[:-1]] + large[-1:]
    durations = [GIF_FRAME_MS] * (len(large) - 1) + [GIF_LAST_FRAME_MS]
    buffer = io.BytesIO()
    large[0].save(buffer, "GIF", save_all=True, append_images=large[1:], duration=durations, loop=0)
    return buffer.getvalue()


@contextmanager
def _figure(height: float) -> Iterator[tuple[Figure, io.BytesIO]]:
    """A figure of `height` inches, drawn into the buffer on exit. Without pyplot: no global state, no display."""
    figure, buffer = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained"), io.BytesIO()
    yield figure, buffer
    FigureCanvasAgg(figure).print_png(buffer)


def _show(axes: Any, image: Tensor, title: str = "") -> None:
    """Draws one image (C, H, W) in [-1, 1] without axes."""
    pixels = ((image + 1) / 2).clamp(0, 1).permute(1, 2, 0).cpu()
    axes.imshow((pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).numpy(), cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.set_title(title, fontsize=8)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _means(axes: Any, values: Sequence[float], window: int, **style: Any) -> None:
    means = [sum(values[i : i + window]) / window for i in range(0, len(values) - window + 1, window)]
    axes.plot([i * window + window / 2 for i in range(len(means))], means, **style)
