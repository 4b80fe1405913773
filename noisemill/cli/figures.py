"""figures: images that show a model's schedule, forward and reverse process."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noisemill.cli import checkpoints
from noisemill.cli.console import console, progress_bar
from noisemill.cli.options import DataRoot, Device, ModelPath, Source


def figures(
    model: ModelPath,
    out: Annotated[
        Path | None, typer.Option(help="Folder; default: the model's figures/, which the service shows.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the reverse process; default: the card's.")] = None,
    source: Source = None,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Draw a model's noise schedule, its forward process, and the reverse process of a hundred samples."""
    from model.checkpoint import FIGURES, write_atomically
    from worker import offline

    loaded = checkpoints.load(model, device)
    real = checkpoints.load_data(loaded, source, data_root, "train")
    with progress_bar("sampling", offline.FIGURE_IMAGES * (steps or loaded.card.steps)) as advance:
        drawn = offline.draw(loaded, real, steps, advance)
    folder = out or checkpoints.find(model) / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        write_atomically(folder / name, picture)
    console.print(f"{len(drawn)} figures in {folder}")
