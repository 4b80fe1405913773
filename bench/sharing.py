"""How a job of one image and a job of 1000 images share a worker: python -m bench.sharing

Each round measures the time of the small job alone, the rate of the large job alone, and both when they run together.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from bench.report import machine, spread, table, timed, write_performance
from model.hardware import default_device
from tests.service import Service, running, wait_until

COUNT = 1000
ALONE_SECONDS = 10.0


def rate(service: Service, job: dict[str, Any], until: Callable[[], float]) -> tuple[float, float]:
    """Row-steps per second of a running job while `until` runs, and the result of `until`."""

    def progress() -> tuple[int, float]:
        """Steps done and the time, right after an update of the progress, so that both are equally recent."""
        before = service.job(job)["progress"]["steps_done"]
        wait_until(lambda: service.job(job)["progress"]["steps_done"] != before, 60)
        return service.job(job)["progress"]["steps_done"], time.perf_counter()

    first, began = progress()
    seconds = until()
    last, ended = progress()
    return (last - first) / (ended - began), seconds


def main(models: Path = Path("checkpoints"), model: str = "mnist", steps: int = 1000, rounds: int = 3) -> None:
    same = {"model": model, "steps": steps, "guidance_scale": 1, "sampler": "ddpm"}
    alone, beside, full, shared = (list[float]() for _ in range(4))
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:

        def small() -> float:
            return timed(lambda: list(service.events(service.generate(**same))))  # waits for the end without polling

        def pause() -> float:
            time.sleep(ALONE_SECONDS)
            return ALONE_SECONDS

        for turn in range(rounds + 1):
            if turn:  # the first job waits for the compilation
                alone.append(small())
            else:
                small()
            large = service.generate(**same, count=COUNT)
            of_large, _ = rate(service, large, pause)
            of_both, seconds = rate(service, large, small)
            if turn:
                full.append(of_large)
                shared.append(of_both)
                beside.append(seconds)
            service.http.delete(large["urls"]["job"]).raise_for_status()
    ratios = [a / b for a, b in zip(beside, alone, strict=True)], [a / b for a, b in zip(shared, full, strict=True)]
    found = [
        ["1 image: seconds", spread(alone), spread(beside), f"**{spread(ratios[0], 2)}**"],
        [f"{COUNT} images: row-steps/s", spread(full, 0), spread(shared, 0), f"**{spread(ratios[1], 2)}**"],
    ]
    text = (
        f"`{model}`, {steps} steps of DDPM without guidance; medians (min to max) of {rounds} rounds. "
        f"{machine(default_device())}.\n\n{table(['job', 'alone', 'with the other', 'with the other / alone'], found)}"
    )
    write_performance("sharing", default_device(), text)


if __name__ == "__main__":
    typer.run(main)
