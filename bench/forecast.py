"""Accuracy of `eta_seconds` on a steady queue of mixed jobs: python -m bench.forecast

The queue of a real service is kept at a constant length. Each job's forecasts, at its submission and twice a second
afterwards, are compared with the actual time until the job was done.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import typer

from bench.report import machine, table, write_performance
from model.hardware import default_device
from tests.service import Service, running

LENGTH = 12  # number of queued or running jobs
POLL_SECONDS = 0.5
MIN_SECONDS = 1.0  # shorter forecasts are within the resolution of polling
WITHIN = 0.2  # tolerance of a forecast, relative to the actual time


@dataclass(slots=True)
class TrackedJob:
    """A submitted job and its forecasts."""

    view: dict[str, Any]
    forecasts: list[tuple[float, float]] = field(default_factory=list)  # (time of the forecast, eta_seconds)
    ended: float | None = None

    def ratios(self) -> Iterator[float]:
        """Forecast over actual time, the one at submission first."""
        assert self.ended is not None
        for at, eta in self.forecasts:
            if self.ended - at >= MIN_SECONDS:
                yield eta / (self.ended - at)


def mixed(seed: random.Random, model: str) -> dict[str, Any]:
    return {
        "model": model,
        "count": seed.choice([1, 1, 4, 16, 64, 128]),
        "steps": seed.choice([10, 50, 100, 250]),
        "sampler": seed.choice(["ddpm", "ddim", "dpmpp_2m"]),
        "guidance_scale": seed.choice([1, 2]),
        "label": "cycle",
        "priority": seed.choice(["interactive", "interactive", "interactive", "batch"]),
        "frames": 0,
    }


def run(service: Service, model: str, seconds: float) -> list[TrackedJob]:
    """Submits jobs for `seconds`; returns them when all have ended."""
    seed, jobs, stop = random.Random(0), list[TrackedJob](), time.time() + seconds
    while True:
        now, listed = time.time(), service.http.get("/jobs?limit=100").json()["jobs"]
        views = {view["id"]: view for view in listed}
        for job in jobs:
            view = views.get(job.view["id"], job.view)
            if job.ended is None and view["ended_at"] is not None:
                job.ended = view["ended_at"]
            elif job.ended is None and view["eta_seconds"] is not None:
                job.forecasts.append((now, view["eta_seconds"]))
        waiting = [job for job in jobs if job.ended is None]
        if now > stop and not waiting:
            return jobs
        if now < stop:
            for _ in range(LENGTH - len(waiting)):
                view = service.generate(**mixed(seed, model))
                jobs.append(TrackedJob(view, [(view["created_at"], view["eta_seconds"])]))
        time.sleep(POLL_SECONDS)


def main(models: Path = Path("checkpoints"), model: str = "digits", seconds: float = 60.0) -> None:
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:
        service.images(service.generate(model=model, count=64, steps=50), seconds=600)  # compiled and measured
        jobs = run(service, model, seconds)
    at_submission = [next(iter(job.ratios())) for job in jobs if list(job.ratios())]
    later = [ratio for job in jobs for ratio in list(job.ratios())[1:]]
    found = [
        [name, str(len(ratios)), f"{statistics.median(ratios):.2f}", *_quantiles(ratios), _within(ratios)]
        for name, ratios in (("at submission", at_submission), ("while waiting or running", later))
    ]
    head = ["forecast / actual time", "forecasts", "median", "10th percentile", "90th percentile", "within 20 %"]
    text = (
        f"`{model}`, {len(jobs)} jobs of 1 to 128 images, 10 to 250 steps, three samplers, with and without guidance, "
        f"both priorities; {LENGTH} of them queued or running at any time. {machine(default_device())}.\n\n"
        f"{table(head, found)}"
    )
    write_performance("forecast", default_device(), text)


def _quantiles(ratios: list[float]) -> tuple[str, str]:
    tenths = statistics.quantiles(ratios, n=10)
    return f"{tenths[0]:.2f}", f"{tenths[-1]:.2f}"


def _within(ratios: list[float]) -> str:
    return f"**{sum(abs(ratio - 1) <= WITHIN for ratio in ratios) / len(ratios):.0%}**"


if __name__ == "__main__":
    typer.run(main)
