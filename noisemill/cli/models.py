"""models and import: the checkpoints that can be served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from noisemill.cli import checkpoints
from noisemill.cli.console import console, stop
from noisemill.cli.options import CHECKPOINTS, ModelsDir, Overwrite


def models(models: ModelsDir = CHECKPOINTS) -> None:
    """List the checkpoints in a folder, and why any of them cannot be served."""
    from model.checkpoint import CheckpointError, folders, load

    table, errors = Table("model", "digest", "images", "classes", "trained on", "loss"), []
    found = folders(models)
    if not found:
        stop(f"no model is in {models}: train one, import one, or name another folder with --models")
    for path in found:
        try:
            loaded = load(path)
        except CheckpointError as error:
            errors.append(f"{path.name}: {error}")
            continue
        config, card = loaded.unet.config, loaded.card
        size = f"{config.sample_size}×{config.sample_size}×{config.in_channels}"
        source, loss = str(card.data.get("source", "?")), str(card.training.get("loss", "?"))
        table.add_row(path.name, card.digest[:12], size, str(len(card.classes)), source, loss)
    console.print(table)
    for message in errors:
        console.print(message, style="red", highlight=False, soft_wrap=True)


def import_(
    source: Annotated[Path, typer.Argument(help="A folder saved by diffusers: a pipeline or a UNet2DModel.")],
    name: Annotated[str | None, typer.Option(help="Name of the model; default: the folder's name.")] = None,
    models: ModelsDir = CHECKPOINTS,
    overwrite: Overwrite = False,
) -> None:
    """Import a pixel-space UNet2DModel with a DDPM or DDIM scheduler, as diffusers saves it."""
    from model.checkpoint import CheckpointError
    from model.interchange import import_checkpoint

    target = checkpoints.unused_path(models, name or source.resolve().name, overwrite)
    models.mkdir(parents=True, exist_ok=True)
    try:
        card = import_checkpoint(source, target)
    except CheckpointError as error:
        stop(str(error))
    console.print(f"{target.name}, {card.digest[:12]}, is in {target}; a running service lists it within seconds")
