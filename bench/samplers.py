"""Distance to real images by sampler and number of steps, into docs/samplers.md: python -m bench.samplers MODEL …

Every sampler gets the same seeds, labels and guidance. Each result is cached, so that an interrupted run can continue.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated

import torch
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from bench.report import machine, write_section
from jobs.resolve import resolve
from jobs.schema import CYCLE, GenerateRequest
from model import data
from model.evaluation.reference import Reference
from model.hardware import default_device
from model.images import from_uint8
from worker import offline
from worker.catalog import Model

PAGE = Path("docs/samplers.md")
PICTURES = Path("docs/pictures")
SAMPLERS = "ddpm", "ddim", "dpmpp_2m", "heun"

console = Console()


@dataclass(frozen=True)
class Cell:
    """The measurement of one sampler at one number of steps."""

    sampler: str
    steps: int
    seconds: float  # per image, sampled 64 at a time
    accuracy: float
    frechet: float
    interval: tuple[float, float]
    real: float  # distance of as many training images


def measure(model: Model, reference: Reference, request: GenerateRequest) -> Cell:
    spec = resolve(request, model.card)
    clock = time.perf_counter()
    pixels = offline.sample(model, spec)
    seconds = (time.perf_counter() - clock) / spec.count
    figures = reference.compare(from_uint8(pixels), torch.tensor(spec.labels))
    frechet = figures["frechet"]
    return Cell(
        sampler=spec.sampler,
        steps=spec.steps,
        seconds=seconds,
        accuracy=figures["accuracy"],
        frechet=frechet["distance"],
        interval=tuple(frechet["interval"]),
        real=frechet["as_many_training_images"]["distance"],
    )


def plot(cells: list[Cell], name: str, path: Path) -> None:
    figure = Figure(figsize=(7, 3.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    for sampler, of in groupby(cells, lambda cell: cell.sampler):
        row = list(of)
        steps, distances = [cell.steps for cell in row], [cell.frechet for cell in row]
        below = [cell.frechet - cell.interval[0] for cell in row]
        above = [cell.interval[1] - cell.frechet for cell in row]
        axes.errorbar(
            steps, distances, yerr=[below, above], marker="o", markersize=4, linewidth=1.2, capsize=2, label=sampler
        )
    axes.axhline(cells[0].real, color="0.5", linestyle=":", label="as many real images")
    axes.set(xlabel="steps", ylabel="Fréchet distance to the test set", xscale="log", yscale="log", title=name)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    FigureCanvasAgg(figure).print_png(str(path))


def table(cells: list[Cell]) -> str:
    lines = ["| sampler | steps | seconds/image | accuracy | Fréchet distance |", "|---|---|---|---|---|"]
    for cell in cells:
        low, high = cell.interval
        lines.append(
            f"| `{cell.sampler}` | {cell.steps} | {cell.seconds:.3f} | {cell.accuracy:.1%} "
            f"| {cell.frechet:.3f} ({max(0.0, low):.3f} to {high:.3f}) |"
        )
    return "\n".join(lines)


def main(
    model: Annotated[Path, typer.Argument(help="Folder of a checkpoint with classes.")],
    data_root: Path | None = None,
    count: int = 500,
    steps: str = "10,20,50,100",
    guidance: Annotated[float, typer.Option(help="1 means no guidance, and takes half the time.")] = 1.0,
    long: Annotated[str, typer.Option(help="Samplers measured with all of the schedule's steps too.")] = "ddpm",
    cache: Path = Path("var/evaluate"),
    device: str | None = None,
) -> None:
    loaded = offline.load(model, default_device(device))
    card = loaded.card
    train, test = (
        data.load(card.data["source"], root=data_root, split=split, size=card.image_size) for split in data.SPLITS
    )
    reference = Reference(train, test, cache, loaded.network.device)
    loaded.network.warm()
    kept = cache / f"samplers-{card.digest[:12]}-{guidance}-{count}.json"
    cells = [Cell(**values) for values in json.loads(kept.read_text())] if kept.exists() else []
    wanted = [(sampler, int(number)) for sampler in SAMPLERS for number in steps.split(",")]
    wanted += [(sampler, card.num_train_timesteps) for sampler in long.split(",")]
    for sampler, number in wanted:
        if not any((cell.sampler, cell.steps) == (sampler, number) for cell in cells):
            request = GenerateRequest(
                count=count, seed=0, sampler=sampler, steps=number, label=CYCLE, guidance_scale=guidance
            )
            cells.append(measure(loaded, reference, request))
            console.print(cells[-1])
            kept.write_text(json.dumps([asdict(cell) for cell in cells]))
    cells = [cell for cell in cells if (cell.sampler, cell.steps) in wanted]
    cells.sort(key=lambda cell: (SAMPLERS.index(cell.sampler), cell.steps))
    picture = PICTURES / f"samplers-{card.name}.png"
    plot(cells, card.name, picture)
    write_section(
        PAGE,
        card.name,
        f"{count} samples of `{card.name}`, the classes in turn, guidance scale {guidance:g}; as many real "
        f"images have a distance of {cells[0].real:.3f}. Measured on {machine(loaded.network.device)}.\n\n"
        f'<img src="pictures/{picture.name}" alt="Fréchet distance over steps for each sampler" width="560">\n\n'
        f"{table(cells)}",
    )


if __name__ == "__main__":
    typer.run(main)
