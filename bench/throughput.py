"""Pictures a second through the service, and by `DDPMPipeline`'s loop with the same weights: python -m bench.throughput

One job of 64 pictures, from the request over HTTP to the last PNG. The service runs as `noisemill serve` starts it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import typer

from bench.report import interleaved, machine, spread, table, timed, times, write_performance
from bench.usual import Pipeline
from model.hardware import default_device
from tests.service import Service, running

ROWS = 64
WARM_STEPS = 10  # of the round that is not counted


def main(models: Path = Path("checkpoints"), model: str = "mnist", steps: int = 1000, rounds: int = 1) -> None:
    device = default_device()
    usual = Pipeline(models / model, device)
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:
        classes = len(service.http.get(f"/models/{model}").json()["classes"])
        asked = {"model": model, "guidance_scale": 1, "sampler": "ddpm", "count": ROWS, "label": "cycle"}

        def ours(turn: int) -> float:
            return ROWS / timed(lambda: service.asked(**asked, steps=steps if turn else WARM_STEPS, seed=turn))

        def theirs(turn: int) -> float:
            return ROWS / timed(lambda: usual(torch.arange(ROWS) % classes, steps if turn else WARM_STEPS, turn))

        taken = interleaved({"Noisemill": ours, "`DDPMPipeline`'s loop": theirs}, rounds)
    first = taken["Noisemill"]
    found = [[name, spread(rates, 3), "" if rates is first else times(first, rates)] for name, rates in taken.items()]
    head = [f"{ROWS} pictures of {steps} steps", "pictures a second", "Noisemill is"]
    text = f"`{model}`, DDPM without guidance. {machine(device)}.\n\n{table(head, found)}"
    write_performance("throughput", device, text)


if __name__ == "__main__":
    typer.run(main)
