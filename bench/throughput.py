"""Throughput of the service and of `DDPMPipeline`'s loop with the same weights: python -m bench.throughput

One job of 64 images, from the HTTP request to the last PNG. The service runs as `noisemill serve` starts it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import typer

from bench.baseline import Pipeline
from bench.report import interleaved, machine, spread, table, timed, times, write_performance
from model.hardware import default_device
from tests.service import Service, running

ROWS = 64
WARM_STEPS = 10  # in the warm-up round


def main(models: Path = Path("checkpoints"), model: str = "mnist", steps: int = 1000, rounds: int = 1) -> None:
    device = default_device()
    baseline = Pipeline(models / model, device)
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:
        classes = len(service.http.get(f"/models/{model}").json()["classes"])
        request = {"model": model, "guidance_scale": 1, "sampler": "ddpm", "count": ROWS, "label": "cycle"}

        def ours(turn: int) -> float:
            return ROWS / timed(lambda: service.fetch_images(**request, steps=steps if turn else WARM_STEPS, seed=turn))

        def theirs(turn: int) -> float:
            return ROWS / timed(lambda: baseline(torch.arange(ROWS) % classes, steps if turn else WARM_STEPS, turn))

        results = interleaved({"Noisemill": ours, "`DDPMPipeline`'s loop": theirs}, rounds)
    first = results["Noisemill"]
    found = [[name, spread(rates, 3), "" if rates is first else times(first, rates)] for name, rates in results.items()]
    head = [f"{ROWS} images of {steps} steps", "images/s", "speed-up"]
    text = f"`{model}`, DDPM without guidance; rounds: {rounds}. {machine(device)}.\n\n{table(head, found)}"
    write_performance("throughput", device, text)


if __name__ == "__main__":
    typer.run(main)
