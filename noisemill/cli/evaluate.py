"""evaluate: a model's metrics against its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from noisemill.cli import checkpoints
from noisemill.cli.console import console, stop
from noisemill.cli.options import DataRoot, Device, ModelPath, Source


def evaluate(
    model: ModelPath,
    count: Annotated[int, typer.Option(help="Samples of each kind, conditional and unconditional.")] = 1000,
    seed: int = 0,
    steps: int | None = None,
    sampler: str | None = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale of conditional samples.")] = None,
    source: Source = None,
    data_root: DataRoot = None,
    cache: Annotated[Path, typer.Option(help="Folder that keeps the trained classifier.")] = Path("var/evaluate"),
    write: Annotated[bool, typer.Option(help="Write the metrics to the model's card.")] = False,
    device: Device = None,
) -> None:
    """Measure a model against its data: classifier accuracy, distances, memorisation, bits per dimension."""
    from jobs.resolve import FieldError
    from jobs.schema import GenerateRequest
    from model import checkpoint
    from model.evaluation.reference import Reference
    from worker import offline

    loaded = checkpoints.load(model, device)
    request = GenerateRequest(count=count, seed=seed, steps=steps, sampler=sampler, guidance_scale=guidance)
    try:
        specs = offline.evaluation_specs(loaded, request)
    except FieldError as error:
        stop(str(error))
    train_set, test_set = (checkpoints.load_data(loaded, source, data_root, split) for split in ("train", "test"))
    reference = Reference(train_set, test_set, cache, loaded.network.device)
    metrics = offline.evaluate(loaded, reference, specs, lambda spec: checkpoints.sample(loaded, spec))
    console.print_json(data=metrics)
    if write:
        path = checkpoints.find(model)
        checkpoint.write_card(path, replace(checkpoint.read_card(path), metrics=metrics))
