"""The front door: every command, and the only file that knows every room."""

from __future__ import annotations

import base64
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings
    from torch import Tensor

    from jobs.schema import JobSpec
    from model.data import Dataset, Split
    from model.training.train import Trainer
    from worker.catalog import Model

Settings = TypeVar("Settings", bound="BaseSettings")

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
console = Console()

CHECKPOINTS = Path("checkpoints")
TELL_SECONDS = 30.0  # between lines of a training that no terminal shows

RedisUrl = Annotated[str | None, typer.Option(help="redis://…, unix://…; NOISEMILL_REDIS_URL by default.")]
Port = Annotated[int, typer.Option(min=1, max=65535)]
ModelsDir = Annotated[Path, typer.Option("--models", help="Folder of checkpoints, one a subfolder.")]
DataRoot = Annotated[Path | None, typer.Option(help="Where the data set lies; downloaded to data/ by default.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N; a GPU by default where there is one.")]
ModelPath = Annotated[Path, typer.Argument(help="A checkpoint's folder, or its name under checkpoints/.")]


@cli.command()
def serve(
    host: str = "127.0.0.1",
    port: Port = 8000,
    models: ModelsDir = CHECKPOINTS,
    state: Annotated[Path, typer.Option(help="Where jobs and results are kept.")] = Path("var"),
    redis_url: RedisUrl = None,
) -> None:
    """Everything on this machine: a Redis (unless you name yours), a worker and the app."""
    from app.settings import AppSettings
    from serve.main import ServeError, serve
    from serve.redis_server import NoRedisError
    from worker.settings import WorkerSettings

    for settings in (AppSettings, WorkerSettings):  # what its parts would stumble over, again and again
        _settings(settings)
    try:
        serve(host=host, port=port, models=models, state=state, redis_url=redis_url)
    except (ServeError, NoRedisError) as error:
        _stop(str(error))


@cli.command()
def app(host: str = "127.0.0.1", port: Port = 8000, redis_url: RedisUrl = None) -> None:
    """The HTTP side alone; as many as you like, on any host."""
    import uvicorn

    from app.main import create_app
    from app.server import Server
    from app.settings import AppSettings

    settings = _settings(AppSettings, redis_url=redis_url)
    config = uvicorn.Config(
        create_app(settings), host=host, port=port, log_level="warning", timeout_graceful_shutdown=5
    )
    Server(config).run()


@cli.command()
def worker(redis_url: RedisUrl = None, models: Annotated[Path | None, typer.Option()] = None) -> None:
    """The sampling side alone; as many as you like, on any host with the same models."""
    from worker.main import run
    from worker.settings import WorkerSettings

    run(_settings(WorkerSettings, redis_url=redis_url, models=models))


@cli.command()
def train(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe, such as recipes/mnist.toml; or give --data.")] = None,
    own: Annotated[Path | None, typer.Option("--data", help="Your own images instead: a folder, or a ZIP.")] = None,
    size: Annotated[int | None, typer.Option(help="Of your own images: what they are cropped and resized to.")] = None,
    data_root: DataRoot = None,
    resume: Annotated[bool, typer.Option(help="Go on where this run was stopped.")] = False,
    name: Annotated[str | None, typer.Option(help="What to call the model; the recipe's name by default.")] = None,
    runs: Annotated[Path, typer.Option(help="Where runs keep their state, curves and samples.")] = Path("runs"),
    models: ModelsDir = CHECKPOINTS,
    overwrite: Annotated[bool, typer.Option(help="Replace a model of that name.")] = False,
    device: Device = None,
) -> None:
    """Trains a model and puts it among the served ones. Ctrl-C stops it; --resume goes on exactly there."""
    from model import checkpoint, data
    from model.hardware import default_device, join_processes
    from model.training.recipe import Recipe, RecipeError, automatic
    from model.training.train import Trainer, TrainingError

    device, first = join_processes(device)
    console.quiet = not first
    try:
        if own is not None and recipe is None:
            images = data.load(str(own), size=size)
            what = automatic(name or own.stem, str(own), size, images, default_device(device).type)
        elif recipe is not None and own is None:
            what = Recipe.read(recipe)
            what = what if name is None else replace(what, name=name)
            images = data.load(what.data.source, root=data_root, size=what.data.size)
        else:
            _stop("give a recipe, such as recipes/mnist.toml, or --data with a folder or ZIP of your own images")
        target, run = _target(models, what.name, overwrite), runs / what.name
        trainer = Trainer(what, images, run, device=device)
        if resume:
            trainer.resume()
        elif trainer.state_path.exists():
            _stop(f"{run} holds a run already: go on with --resume, or remove it")
        _announce(trainer)
        _train(trainer)
    except (data.DataError, RecipeError, TrainingError) as error:
        _stop(str(error))
    except OSError as error:  # no space, most likely; what was saved before is whole
        _stop(f"{error}: once that is mended, go on with --resume")
    if first:
        models.mkdir(parents=True, exist_ok=True)
        checkpoint.copy(trainer.result, target)
    console.print(f"{what.name} is in {target}; a running service shows it in a moment")


def _announce(trainer: Trainer) -> None:
    """What will be trained on, with what, and for how long."""
    from model.data.own_images import HELD_OUT

    data, settings = trainer.data, trainer.recipe.training
    _, channels, side, _ = data.images.shape
    colour, classes = "grey" if channels == 1 else "RGB", ", ".join(data.classes)
    console.print(f"{data.source}: {len(data):,} images, {side} × {side} {colour}; classes: {classes or 'none'}")
    if Path(data.source).exists():
        console.print(f"beside them, one image of every {HELD_OUT} is held out for `noisemill evaluate`")
    if data.skipped:
        console.print(f"skipped, since they cannot be read: {len(data.skipped)}, such as {', '.join(data.skipped[:3])}")
    widths = " / ".join(str(width) for width in trainer.unet.config.block_out_channels)
    parameters = sum(parameter.numel() for parameter in trainer.unet.parameters())
    console.print(f"network: {widths}, {parameters / 1e6:.1f} million parameters")
    if settings.compile:
        console.print("the network is compiled before the first step, where a compiler is: up to a minute")
    left = trainer.steps - trainer.step
    minutes = left * trainer.seconds_a_step() / 60
    console.print(
        f"{left:,} steps of {settings.batch_size} images on {trainer.device}: {minutes:.0f} minutes at the most; "
        f"state in {trainer.run}, Ctrl-C stops, --resume goes on"
    )


def _train(trainer: Trainer) -> None:
    """Takes the steps with a progress bar. Ctrl-C ends after the step in hand, whose state is saved."""
    columns = "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[figures]}", TimeRemainingColumn()
    steps, loss, stop, told = trainer.steps, 0.0, threading.Event(), 0.0
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    try:
        with Progress(*columns, console=console) as progress, closing(trainer.train()) as reports:
            bar = progress.add_task("starting", total=steps, completed=trainer.step, figures="")
            for report in reports:
                loss = report.loss if loss == 0 else 0.98 * loss + 0.02 * report.loss
                figures = f"loss {loss:.4f}  {report.images_per_second:.0f} images/s"
                progress.update(bar, description="training", completed=report.step, figures=figures)
                if not console.is_terminal and time.monotonic() - told > TELL_SECONDS:
                    console.print(f"step {report.step} of {steps}  {figures}", highlight=False)
                    told = time.monotonic()
                if stop.is_set():
                    break
    except Exception:
        if not stop.is_set():  # a compiler that Ctrl-C has ended as well has nothing to say
            raise
    signal.signal(signal.SIGINT, before)
    if trainer.step == 0:
        console.print("stopped before the first step: nothing is kept")
        raise typer.Exit(130)
    if trainer.step < steps:
        if trainer.rank == 0:
            trainer.checkpoint()
        console.print(f"stopped at step {trainer.step} of {steps}: go on with --resume")
        raise typer.Exit(130)


@cli.command()
def sample(
    model: ModelPath,
    out: Annotated[Path, typer.Option(help="A folder for PNGs, or a .npy file: uint8, (N, H, W) or (N, H, W, 3).")],
    count: int = 1,
    seed: Annotated[int | None, typer.Option(help="Random by default, and reported.")] = None,
    first_index: int = 0,
    steps: Annotated[int | None, typer.Option(help="The card's recommendation by default.")] = None,
    sampler: Annotated[str | None, typer.Option(help="One of the card's samplers.")] = None,
    spacing: Annotated[str, typer.Option(help="trailing, leading or linspace.")] = "trailing",
    eta: Annotated[float | None, typer.Option(help="Of DDIM: 0 adds no noise, 1 as much as DDPM.")] = None,
    thresholding: Annotated[str | None, typer.Option(help="Of x̂0: static, dynamic or none.")] = None,
    label: Annotated[
        str | None, typer.Option(help="A class, by number or by name, or `cycle`: the classes in turn.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="The card's recommendation by default.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture of the model's size to begin from.")] = None,
    strength: Annotated[float | None, typer.Option(help="With --image: how far it is noised, 0 to 1.")] = None,
    device: Device = None,
) -> None:
    """Samples without a service, through the same engine: the same bytes as over HTTP."""
    from pydantic import ValidationError

    from jobs.resolve import FieldError, resolve
    from jobs.schema import GenerateRequest
    from jobs.start_image import check_start_image
    from model import images

    if out.suffix != ".npy" and out.exists() and not out.is_dir():
        _stop(f"{out} is a file: name a folder for PNGs, or a .npy file")
    loaded = _load(model, device)
    try:
        asked = {
            "count": count,
            "seed": seed,
            "first_index": first_index,
            "steps": steps,
            "sampler": sampler,
            "spacing": spacing,
            "eta": eta,
            "thresholding": thresholding,
            "label": int(label) if label is not None and label.isdigit() else label,
            "guidance_scale": guidance,
            "image": None if image is None else base64.b64encode(image.read_bytes()).decode(),
            "strength": strength,
        }
        request = GenerateRequest.model_validate(asked)
        spec = resolve(request, loaded.card)
        if request.image is not None:
            check_start_image(request.image, loaded.card)
    except ValidationError as error:
        _stop("; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()))
    except (OSError, FieldError) as error:
        _stop(str(error))
    pixels = _sample(loaded, spec)
    if out.suffix == ".npy":
        import numpy

        array = pixels.permute(0, 2, 3, 1).numpy()
        numpy.save(out, array[..., 0] if array.shape[3] == 1 else array)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for position, picture in enumerate(pixels):
            path = out / f"{spec.first_index + position:05d}.png"
            path.write_bytes(images.png(picture, spec.recipe(position, loaded.network.build)))
    console.print(f"{spec.count} images in {out}, seed {spec.seed}")


@cli.command()
def evaluate(
    model: ModelPath,
    count: Annotated[int, typer.Option(help="Samples of each kind.")] = 1000,
    seed: int = 0,
    steps: int | None = None,
    sampler: str | None = None,
    guidance: Annotated[float | None, typer.Option(help="Of the conditional ones.")] = None,
    source: Annotated[str | None, typer.Option(help="The data, where the card's own is elsewhere now.")] = None,
    data_root: DataRoot = None,
    cache: Annotated[Path, typer.Option(help="Where the classifier is kept.")] = Path("var/evaluate"),
    write: Annotated[bool, typer.Option(help="Put the figures on the model's card.")] = False,
    device: Device = None,
) -> None:
    """Measures a model by its real data: recognised samples, distances, copies, and bits per dimension."""
    from jobs.resolve import FieldError
    from jobs.schema import GenerateRequest
    from model import checkpoint
    from model.evaluation.evaluate import Reference
    from worker import offline

    loaded = _load(model, device)
    asked = GenerateRequest(count=count, seed=seed, steps=steps, sampler=sampler, guidance_scale=guidance)
    try:
        specs = offline.evaluation_specs(loaded, asked)
    except FieldError as error:
        _stop(str(error))
    train_set, test_set = (_real(loaded, source, data_root, split) for split in ("train", "test"))
    reference = Reference(train_set, test_set, cache, loaded.network.device)
    metrics = offline.evaluate(loaded, reference, specs, lambda spec: _sample(loaded, spec))
    console.print_json(data=metrics)
    if write:
        path = _path(model)
        checkpoint.write_card(path, replace(checkpoint.read_card(path), metrics=metrics))


@cli.command()
def figures(
    model: ModelPath,
    out: Annotated[
        Path | None, typer.Option(help="A folder; by default the model's own, from where they are shown.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Of the reverse process; the card's by default.")] = None,
    source: Annotated[str | None, typer.Option(help="The data, where the card's own is elsewhere now.")] = None,
    data_root: DataRoot = None,
    device: Device = None,
) -> None:
    """Draws a model: its schedule, how images become noise, and a hundred of them as they come out of it again."""
    from model.checkpoint import FIGURES, write_atomically
    from worker import offline

    loaded = _load(model, device)
    real = _real(loaded, source, data_root, "train")
    with _progress("sampling", offline.FIGURE_IMAGES * (steps or loaded.card.steps)) as advance:
        drawn = offline.draw(loaded, real, steps, advance)
    folder = out or _path(model) / FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        write_atomically(folder / name, picture)
    console.print(f"{len(drawn)} pictures in {folder}")


@cli.command(name="import")
def import_(
    source: Annotated[Path, typer.Argument(help="A folder that diffusers has saved: a pipeline, or a UNet2DModel.")],
    name: Annotated[str | None, typer.Option(help="What to call the model; the folder's name by default.")] = None,
    models: ModelsDir = CHECKPOINTS,
    overwrite: Annotated[bool, typer.Option(help="Replace a model of that name.")] = False,
) -> None:
    """Serves what diffusers has trained: pixel-space models with DDPM or DDIM schedulers."""
    from model.checkpoint import CheckpointError
    from model.interchange import import_checkpoint

    target = _target(models, name or source.resolve().name, overwrite)
    models.mkdir(parents=True, exist_ok=True)
    try:
        card = import_checkpoint(source, target)
    except CheckpointError as error:
        _stop(str(error))
    console.print(f"{target.name}, {card.digest[:12]}, is in {target}; a running service shows it in a moment")


@cli.command()
def models(models: ModelsDir = CHECKPOINTS) -> None:
    """The checkpoints in a folder: what they are, and what is wrong with those that cannot be served."""
    from model.checkpoint import CheckpointError, folders, load

    table, refused = Table("model", "digest", "images", "classes", "trained on", "loss"), []
    found = folders(models)
    if not found:
        _stop(f"no model is in {models}: train one, import one, or name another folder with --models")
    for path in found:
        try:
            loaded = load(path)
        except CheckpointError as error:
            refused.append(f"{path.name}: {error}")
            continue
        config, card = loaded.unet.config, loaded.card
        size = f"{config.sample_size}×{config.sample_size}×{config.in_channels}"
        source, loss = str(card.data.get("source", "?")), str(card.training.get("loss", "?"))
        table.add_row(path.name, card.digest[:12], size, str(len(card.classes)), source, loss)
    console.print(table)
    for reason in refused:
        console.print(reason, style="red", highlight=False, soft_wrap=True)


def _sample(model: Model, spec: JobSpec) -> Tensor:
    """A spec's images, uint8 (N, C, H, W)."""
    from worker import offline

    with _progress("sampling", spec.count * spec.steps) as advance:
        return offline.sample(model, spec, advance)


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps")
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(description, total=total)
        yield lambda steps: progress.advance(bar, steps)


def _load(model: Path, device: str | None) -> Model:
    from model.checkpoint import CheckpointError
    from model.hardware import default_device
    from worker import offline

    try:
        return offline.load(_path(model), default_device(device))
    except CheckpointError as error:
        _stop(str(error))


def _real(model: Model, source: str | None, root: Path | None, split: Split) -> Dataset:
    """The images that a model was trained on, or those held out."""
    from model import data

    try:
        return data.load(source or model.card.data["source"], root=root, split=split, size=model.card.image_size)
    except data.DataError as error:
        _stop(f"{error}; --source names other data")


def _target(models: Path, name: str, overwrite: bool) -> Path:
    """Where a model of that name is to stand, which nobody has taken."""
    target = models / name
    if target.exists() and not overwrite:
        _stop(f"{target} exists: give --overwrite to replace it, or --name to call this one something else")
    return target


def _path(model: Path) -> Path:
    return model if model.is_dir() else CHECKPOINTS / model


def _settings(kind: type[Settings], **given: Any) -> Settings:
    """What the command line says, or else the environment; stops where that cannot be."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        _stop(f"NOISEMILL_{str(first['loc'][0]).upper()}={first['input']!r}: {first['msg'].lower()}")


def _stop(message: str) -> NoReturn:
    Console(stderr=True).print(f"noisemill: {message}", style="red", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def main() -> None:
    # Where networks are kept as they were compiled and measured, so that every later start is quick.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path("var/compiled").resolve()))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the other one prints every tensor
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    cli()


if __name__ == "__main__":
    main()
