"""Pictures of numbers, for people who look before they read."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

SMOOTHING = 200  # points that a smoothed curve has at the most


def loss_curve(losses: Sequence[float], path: Path) -> None:
    """Writes the loss of every training step and its running mean as a PNG."""
    # Figure without pyplot: no global state, no display, safe in any thread.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    window = max(1, len(losses) // SMOOTHING)
    means = [sum(losses[i : i + window]) / window for i in range(0, len(losses) - window + 1, window)]
    figure = Figure(figsize=(6, 3.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color="0.8", linewidth=0.5, label="each step")
    centres = [i * window + window / 2 for i in range(len(means))]
    axes.plot(centres, means, color="tab:blue", label=f"mean of {window} steps")
    axes.set(xlabel="step", ylabel="loss (mean squared error)", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend()
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    path.write_bytes(buffer.getvalue())
