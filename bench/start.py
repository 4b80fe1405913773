"""Startup time: python -m bench.start

From the command until /readyz answers 200, and until the first image of a one-step job; with an empty compilation
cache, and again with a filled one.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import typer

from bench.report import machine, spread, table, write_performance
from model.hardware import default_device
from tests.service import Service, running


def start(models: Path, model: str, compiled: Path) -> tuple[float, float]:
    """Seconds until the service is ready, and until the first image."""
    with tempfile.TemporaryDirectory() as state:
        began = time.perf_counter()
        with running(Service(models, Path(state), {"TORCHINDUCTOR_CACHE_DIR": str(compiled)})) as service:
            ready = time.perf_counter() - began
            service.images(service.generate(model=model, steps=1), seconds=600)
            return ready, time.perf_counter() - began


def main(models: Path = Path("checkpoints"), model: str = "mnist", rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as compiled:
        first = start(models, model, Path(compiled))
        again = [start(models, model, Path(compiled)) for _ in range(rounds)]
    found = [
        ["`/readyz` answers 200", f"{first[0]:.1f}", spread([ready for ready, _ in again])],
        [f"first image of `{model}`", f"{first[1]:.1f}", spread([pictured for _, pictured in again])],
    ]
    head = ["seconds until", "first start", f"later starts: median (min to max) of {rounds}"]
    write_performance("start", default_device(), f"{machine(default_device())}.\n\n{table(head, found)}")


if __name__ == "__main__":
    typer.run(main)
