"""train: a recipe or a folder of images becomes a checkpoint."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from noisemill.cli import checkpoints
from noisemill.cli.console import console, stop
from noisemill.cli.options import CHECKPOINTS, DataRoot, Device, ModelsDir, Overwrite

if TYPE_CHECKING:
    from model.data import Dataset
    from model.training.recipe import Recipe
    from model.training.train import Trainer

PRINT_SECONDS = 30.0  # seconds between progress lines when the output is not a terminal


def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe, such as recipes/mnist.toml; or use --data.")] = None,
    own: Annotated[Path | None, typer.Option("--data", help="Your own images: a folder or a ZIP file.")] = None,
    size: Annotated[int | None, typer.Option(help="With --data: side in pixels after cropping and resizing.")] = None,
    data_root: DataRoot = None,
    resume: Annotated[bool, typer.Option(help="Continue a run that was stopped.")] = False,
    name: Annotated[str | None, typer.Option(help="Name of the model; default: the recipe's name.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder that keeps the state, curves and samples of runs.")] = Path("runs"),
    models: ModelsDir = CHECKPOINTS,
    overwrite: Overwrite = False,
    device: Device = None,
) -> None:
    """Train a model and add it to the models folder. Ctrl-C stops; --resume continues with the same result."""
    from model import checkpoint, data
    from model.hardware import join_processes
    from model.training.recipe import RecipeError
    from model.training.train import Trainer, TrainingError

    device, first = join_processes(device)
    console.quiet = not first
    try:
        if own is not None and recipe is None:
            plan, images = _from_images(own, size, name, device)
        elif recipe is not None and own is None:
            plan, images = _from_recipe(recipe, data_root, name)
        else:
            stop("give either a recipe, such as recipes/mnist.toml, or --data with a folder or ZIP file of images")
        target, run = checkpoints.unused_path(models, plan.name, overwrite), runs / plan.name
        trainer = Trainer(plan, images, run, device=device)
        if resume:
            trainer.resume()
        elif trainer.state_path.exists():
            stop(f"{run} already holds a run: continue it with --resume, or remove it")
        _announce(trainer)
        _train(trainer)
    except (data.DataError, RecipeError, TrainingError) as error:
        stop(str(error))
    except OSError as error:  # usually a full disk; the state is written atomically, so the last one is valid
        stop(f"{error}: after fixing this, continue with --resume")
    if first:
        models.mkdir(parents=True, exist_ok=True)
        checkpoint.copy(trainer.result, target)
    console.print(f"{plan.name} is in {target}; a running service lists it within seconds")


def _from_images(own: Path, size: int | None, name: str | None, device: str | None) -> tuple[Recipe, Dataset]:
    """The user's images, and a recipe chosen by their number and size."""
    from model import data
    from model.hardware import default_device
    from model.training.recipe import automatic

    images = data.load(str(own), size=size)
    return automatic(name or own.stem, str(own), size, images, default_device(device).type), images


def _from_recipe(recipe: Path, data_root: Path | None, name: str | None) -> tuple[Recipe, Dataset]:
    from model import data
    from model.training.recipe import Recipe

    plan = Recipe.read(recipe)
    plan = plan if name is None else replace(plan, name=name)
    return plan, data.load(plan.data.source, root=data_root, size=plan.data.size)


def _announce(trainer: Trainer) -> None:
    """Prints the data, the network, and the time that the training takes."""
    from model.data.own_images import HELD_OUT

    data, settings = trainer.data, trainer.recipe.training
    _, channels, side, _ = data.images.shape
    colour, classes = "grey" if channels == 1 else "RGB", ", ".join(data.classes)
    console.print(f"{data.source}: {len(data):,} images, {side} × {side} {colour}; classes: {classes or 'none'}")
    if Path(data.source).exists():
        console.print(f"one image in {HELD_OUT} is held out for `noisemill evaluate`")
    if data.skipped:
        console.print(f"skipped, since they cannot be read: {len(data.skipped)}, such as {', '.join(data.skipped[:3])}")
    widths = " / ".join(str(width) for width in trainer.unet.config.block_out_channels)
    parameters = sum(parameter.numel() for parameter in trainer.unet.parameters())
    console.print(f"network: {widths}, {parameters / 1e6:.1f} million parameters")
    if settings.compile:
        console.print("the network is compiled before the first step, if a compiler is installed: up to a minute")
    steps = trainer.steps - trainer.step
    minutes = steps * trainer.seconds_per_step() / 60
    console.print(
        f"{steps:,} steps of {settings.batch_size} images on {trainer.device}: at most {minutes:.0f} minutes; "
        f"state in {trainer.run}; Ctrl-C stops, --resume continues"
    )


def _train(trainer: Trainer) -> None:
    """Runs the steps with a progress bar. Ctrl-C ends the training after the current step and saves its state."""
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[figures]}", TimeRemainingColumn()
    steps, loss, stopping, printed = trainer.steps, 0.0, threading.Event(), 0.0
    previous = signal.signal(signal.SIGINT, lambda *_: stopping.set())
    try:
        with Progress(*columns, console=console) as progress, closing(trainer.train()) as reports:
            bar = progress.add_task("starting", total=steps, completed=trainer.step, figures="")
            for report in reports:
                loss = report.loss if loss == 0 else 0.98 * loss + 0.02 * report.loss
                figures = f"loss {loss:.4f}  {report.images_per_second:.0f} images/s"
                progress.update(bar, description="training", completed=report.step, figures=figures)
                if not console.is_terminal and time.monotonic() - printed > PRINT_SECONDS:
                    console.print(f"step {report.step} of {steps}  {figures}", highlight=False)
                    printed = time.monotonic()
                if stopping.is_set():
                    break
    except Exception:
        if not stopping.is_set():  # Ctrl-C also ends the compiler's processes, whose error means nothing
            raise
    signal.signal(signal.SIGINT, previous)
    if trainer.step == 0:
        console.print("stopped before the first step: nothing is saved")
        raise typer.Exit(130)
    if trainer.step < steps:
        if trainer.rank == 0:
            trainer.checkpoint()
        console.print(f"stopped at step {trainer.step} of {steps}: continue with --resume")
        raise typer.Exit(130)
