"""Pictures a second through the service beside the usual way, the same weights in both: python -m bench.throughput

One batch of 64 against `DDPMPipeline`'s loop over 64; sixteen clients who want one picture each at once against a
handler around that loop which serves one at a time. The service runs as `noisemill serve` starts it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import httpx
import torch
import typer
from rich.console import Console
from rich.table import Table

from bench.report import machine, spread
from bench.usual import Pipeline
from tests.service import Service, free_port, wait_until

CLIENTS = 16
ROWS = 64

Timed = Callable[[int], list[float]]  # a round's number -> seconds that each of its requests took


def batch_through(service: Service, model: str, steps: int) -> Timed:
    def run(turn: int) -> list[float]:
        clock = time.perf_counter()
        job = service.generate(
            model=model, count=ROWS, steps=steps, seed=turn, label="cycle", guidance_scale=1, sampler="ddpm"
        )
        service.images(job)
        return [time.perf_counter() - clock]

    return run


def batch_by_loop(pipeline: Pipeline, classes: int, steps: int) -> Timed:
    def run(turn: int) -> list[float]:
        clock = time.perf_counter()
        pipeline(torch.arange(ROWS) % classes, steps, turn)
        return [time.perf_counter() - clock]

    return run


def clients(ask: Callable[[int], object]) -> Timed:
    """All at once; each is timed from its question to its picture."""

    def timed(seed: int) -> float:
        clock = time.perf_counter()
        ask(seed)
        return time.perf_counter() - clock

    def run(turn: int) -> list[float]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(timed, range(turn * CLIENTS, (turn + 1) * CLIENTS)))

    return run


def measure(sides: dict[str, Timed], rounds: int) -> dict[str, list[list[float]]]:
    """The sides in turn, once a round; a first round is not counted."""
    taken: dict[str, list[list[float]]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            seconds = run(turn)
            if turn:
                taken[name].append(seconds)
    return taken


def told(table: Table, what: str, taken: dict[str, list[list[float]]], pictures: int) -> None:
    """A row a side: pictures a second, the slowest twentieth, and how many times as fast the first is."""
    rates = {name: [pictures / max(seconds) for seconds in rounds] for name, rounds in taken.items()}
    ours = next(iter(rates.values()))
    for name, theirs in rates.items():
        every = [second for seconds in taken[name] for second in seconds]
        p95 = statistics.quantiles(every, n=20, method="inclusive")[-1] if len(every) > 1 else every[0]
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        table.add_row(what, name, spread(theirs), f"{p95:.2f} s", "" if theirs is ours else f"{ratio:.2f}")


def main(
    models: Path = Path("checkpoints"),
    model: str = "mnist",
    steps: Annotated[int, typer.Option(help="Fewer than 1000 weigh submission and PNGs more.")] = 100,
    rounds: int = 3,
) -> None:
    table = Table(
        "what", "side", "pictures a second", "95th percentile", "times as fast", title=machine(torch.device("cpu"))
    )
    with tempfile.TemporaryDirectory() as state:
        service = Service(models, Path(state))
        service.start()
        card = service.http.get(f"/models/{model}").json()
        usual = Pipeline(models / model, torch.device("cpu"))
        sides = {
            "noisemill": batch_through(service, model, steps),
            "DDPMPipeline's loop": batch_by_loop(usual, len(card["classes"]), steps),
        }
        told(table, f"{ROWS} pictures, {steps} steps", measure(sides, rounds), ROWS)

        port = free_port()
        server = subprocess.Popen([sys.executable, "-m", "bench.usual", str(models / model), str(port)])
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as http:
            wait_until(lambda: _answers(http), 120)
            sides = {
                "noisemill": clients(
                    lambda seed: service.images(
                        service.generate(
                            model=model, seed=seed, label=seed % 10, steps=steps, guidance_scale=1, sampler="ddpm"
                        )
                    )
                ),
                "handler around the loop": clients(
                    lambda seed: http.post(
                        "/generate", params={"label": seed % 10, "steps": steps, "seed": seed}
                    ).raise_for_status()
                ),
            }
            told(table, f"{CLIENTS} clients, {steps} steps", measure(sides, rounds), CLIENTS)
        server.terminate()
        server.wait(10)
        service.close()
    Console(width=140).print(table)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    typer.run(main)
