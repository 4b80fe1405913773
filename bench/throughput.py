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
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import torch
import typer

from bench.report import interleaved, machine, spread, table, times, write_performance
from bench.usual import Pipeline
from model.hardware import default_device
from tests.service import Service, free_port, running, wait_until

CLIENTS = 16
ROWS = 64

Timed = Callable[[int], list[float]]  # a round's number -> seconds that each of its requests took


def clock(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return time.perf_counter() - began


def ask(service: Service, body: dict[str, Any]) -> list[bytes]:
    """As a client does: follows the job's events to the end, then takes its pictures."""
    job = service.generate(**body)
    for _ in service.events(job, seconds=3600):
        pass
    return service.images(job)


def at_once(one: Callable[[int], object]) -> Timed:
    """All clients, each timed from its question to its picture."""

    def run(turn: int) -> list[float]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            seeds = range(turn * CLIENTS, (turn + 1) * CLIENTS)
            return list(pool.map(lambda seed: clock(lambda: one(seed)), seeds))

    return run


@contextmanager
def usual_handler(folder: Path) -> Iterator[httpx.Client]:
    """The usual handler in a process of its own."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "bench.usual", str(folder), str(port)])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as http:
            wait_until(lambda: _answers(http), 120)
            yield http
    finally:
        server.terminate()
        server.wait(10)


def rows(what: str, taken: dict[str, list[list[float]]], pictures: int) -> Iterator[list[str]]:
    """A side a row: pictures a second, the slowest twentieth of requests, and how many times as fast the first is."""
    rates = {name: [pictures / max(seconds) for seconds in rounds] for name, rounds in taken.items()}
    ours = next(iter(rates.values()))
    for name, theirs in rates.items():
        every = [second for seconds in taken[name] for second in seconds]
        p95 = statistics.quantiles(every, n=20, method="inclusive")[-1] if len(every) > 1 else every[0]
        yield [what, name, spread(theirs, 2), f"{p95:.2f} s", "" if theirs is ours else times(ours, theirs)]


def main(
    models: Path = Path("checkpoints"),
    model: str = "mnist",
    batch_steps: Annotated[int, typer.Option(help="Of the batch's jobs.")] = 1000,
    client_steps: Annotated[int, typer.Option(help="Of the clients' jobs; few weigh HTTP and PNGs more.")] = 100,
    batch_rounds: int = 1,
    client_rounds: int = 3,
) -> None:
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:
        classes = len(service.http.get(f"/models/{model}").json()["classes"])
        same = {"model": model, "guidance_scale": 1, "sampler": "ddpm"}

        def batch(turn: int) -> list[float]:
            asked = {**same, "count": ROWS, "steps": batch_steps if turn else 10, "label": "cycle", "seed": turn}
            return [clock(lambda: ask(service, asked))]

        def one(seed: int) -> object:
            return ask(service, {**same, "steps": client_steps, "label": seed % classes, "seed": seed})

        pipeline = Pipeline(models / model, default_device())
        labels = torch.arange(ROWS) % classes
        loop: Timed = lambda turn: [clock(lambda: pipeline(labels, batch_steps if turn else 10, turn))]  # noqa: E731
        measured = interleaved({"Noisemill": batch, "`DDPMPipeline`'s loop": loop}, batch_rounds)
        found = list(rows(f"{ROWS} pictures of {batch_steps} steps", measured, ROWS))
        with usual_handler(models / model) as http:

            def theirs(seed: int) -> object:
                asked = {"label": seed % classes, "steps": client_steps, "seed": seed}
                return http.post("/generate", params=asked).raise_for_status()

            measured = interleaved({"Noisemill": at_once(one), "a handler around it": at_once(theirs)}, client_rounds)
            found += rows(f"{CLIENTS} clients, one picture of {client_steps} steps each", measured, CLIENTS)
    head = ["asked for", "of", "pictures a second: median (least to most)", "95th percentile", "Noisemill is"]
    text = f"`{model}`, DDPM without guidance. {machine(default_device())}.\n\n{table(head, found)}"
    write_performance("throughput", default_device(), text)


def _answers(http: httpx.Client) -> bool:
    try:
        return http.get("/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    typer.run(main)
