"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

CHECKPOINTS = Path("checkpoints")

Port = Annotated[int, typer.Option(min=1, max=65535)]
ModelsDir = Annotated[Path, typer.Option("--models", help="Folder of checkpoints, one per subfolder.")]
ModelPath = Annotated[Path, typer.Argument(help="A checkpoint's folder, or its name under checkpoints/.")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder that holds the data set; default: download to data/.")]
Source = Annotated[str | None, typer.Option(help="The data set, if the card's path is no longer valid.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; default: a GPU if there is one.")]
Overwrite = Annotated[bool, typer.Option(help="Replace an existing model of the same name.")]
