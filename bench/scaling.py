"""Cost by number of images, image size, queued jobs and watchers: python -m bench.scaling"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from bench.report import interleaved, machine, spread, table, timed, write_performance
from bench.watchers import watch
from jobs.resolve import resolve
from jobs.schema import GenerateRequest
from model import checkpoint
from model.checkpoint import Card
from model.hardware import default_device
from model.networks.unet import UNet
from tests.service import Service, running
from worker import offline
from worker.catalog import Model

IMAGES = 1, 2, 4, 8, 16, 32, 64, 128, 256
SIZES = 16, 32, 64  # pixels on a side
SIZE_IMAGES = 16
QUEUED = 0, 100, 1000
WATCHERS = 1, 10, 100, 500
FRAMES = 100
REPEATS = 20
STEPS = 20
REQUEST = {"sampler": "ddpm", "guidance_scale": 1.0}
TICKS = os.sysconf("SC_CLK_TCK")

Row = list[str]


def main(models: Path = Path("checkpoints"), model: str = "mnist", rounds: int = 5) -> None:
    device = default_device()
    parts = [f"`{model}`, DDPM without guidance. {machine(device)}."]
    parts.append(table(["images", "ms/step", "image-steps/s"], by_images(models / model, rounds)))
    head = ["size", f"ms/step of {SIZE_IMAGES} images", "ratio to the row above", "ratio of pixels"]
    parts.append(table(head, by_size(models / model, rounds)))
    environment = {"NOISEMILL_MAX_QUEUED": str(max(QUEUED) + 100)}
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state), environment)) as service:
        service.fetch_images(**REQUEST, model=model, steps=STEPS)
        head = ["watchers of a job", "app CPU, ms/frame", "ms/frame and watcher"]
        parts.append(table(head, by_watchers(service, model)))
        head = ["queued jobs", "`POST /generate`, ms", "`GET /jobs/<id>` of the last, ms", "`GET /jobs`, ms"]
        parts.append(table(head, by_queued(service, model)))
    write_performance("scaling", device, "\n\n".join(parts))


def by_images(path: Path, rounds: int) -> list[Row]:
    model = offline.load(path, default_device())
    results = interleaved({str(count): step_ms(model, count) for count in IMAGES}, rounds)
    rates = {count: int(count) / statistics.median(ms) * 1000 for count, ms in results.items()}
    return [[count, spread(ms), f"{rates[count]:.0f}"] for count, ms in results.items()]


def by_size(path: Path, rounds: int) -> list[Row]:
    """The same network for larger images, with random weights, which do not affect its speed."""
    known, sides = checkpoint.load(path), dict[str, Callable[[int], float]]()
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            unet = UNet(dataclasses.replace(known.unet.config, sample_size=size))
            checkpoint.save(Path(folder) / str(size), unet, known.schedule, Card(classes=known.card.classes))
            sides[f"{size}×{size}"] = step_ms(offline.load(Path(folder) / str(size), default_device()), SIZE_IMAGES)
        results = interleaved(sides, rounds)
    found, before = list[Row](), 0.0
    for (name, ms), size, smaller in zip(results.items(), SIZES, (0, *SIZES), strict=False):
        median = statistics.median(ms)
        ratios = [f"{median / before:.1f}", f"{(size / smaller) ** 2:.1f}"] if smaller else ["", ""]
        found.append([name, spread(ms), *ratios])
        before = median
    return found


def step_ms(model: Model, count: int) -> Callable[[int], float]:
    """Milliseconds per step of `count` images, by the engine alone."""
    label = {"label": 0} if model.card.classes else {}
    spec = resolve(GenerateRequest(**REQUEST, **label, count=count, steps=STEPS, seed=1), model.card)
    return lambda _: 1000 * timed(lambda: offline.sample(model, spec)) / STEPS


def by_watchers(service: Service, model: str) -> list[Row]:
    async def all_watch(job: dict[str, object], watchers: int) -> None:
        await asyncio.gather(*(watch(service, job) for _ in range(watchers)))

    found = []
    for watchers in WATCHERS:
        before = cpu_ms(service.pid("app"))
        asyncio.run(all_watch(service.generate(**REQUEST, model=model, count=16, steps=300, frames=FRAMES), watchers))
        ms = (cpu_ms(service.pid("app")) - before) / FRAMES
        found.append([str(watchers), f"{ms:.1f}", f"{ms / watchers:.2f}"])
    return found


def by_queued(service: Service, model: str) -> list[Row]:
    request, found, posted = {**REQUEST, "model": model, "count": 64, "steps": 1000}, list[Row](), 0
    with paused_worker(service):
        for waiting in QUEUED:
            results: dict[str, list[float]] = {"post": [], "job": [], "jobs": []}
            while posted < waiting:
                service.generate(**request)
                posted += 1
            for _ in range(REPEATS):
                began = time.perf_counter()
                job = service.generate(**request)
                results["post"].append(1000 * (time.perf_counter() - began))
                results["job"].append(1000 * timed(functools.partial(service.job, job)))
                results["jobs"].append(1000 * timed(lambda: service.http.get("/jobs").raise_for_status()))
                service.http.delete(job["urls"]["job"])
            found.append([str(waiting), *(spread(ms) for ms in results.values())])
    return found


@contextmanager
def paused_worker(service: Service) -> Iterator[None]:
    """Stops the worker process, so that it takes no job."""
    worker = service.pid("worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


def cpu_ms(pid: int) -> float:
    """CPU time of a process in ms, over all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    typer.run(main)
