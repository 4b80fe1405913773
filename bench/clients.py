"""Sixteen concurrent clients that request one image each, of the service and of the baseline: python -m bench.clients

The baseline is a FastAPI handler around `DDPMPipeline`'s loop with the same weights, one request at a time.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import typer

from bench.report import interleaved, machine, spread, table, timed, times, write_performance
from model.hardware import default_device
from tests.service import Service, free_port, running, wait_until

CLIENTS = 16


def concurrently(request: Callable[[int], object]) -> Callable[[int], list[float]]:
    """A function that measures one round: seconds from each client's request to its image."""

    def run(turn: int) -> list[float]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(
                pool.map(lambda seed: timed(lambda: request(seed)), range(turn * CLIENTS, (turn + 1) * CLIENTS))
            )

    return run


@contextmanager
def baseline(folder: Path) -> Iterator[httpx.Client]:
    """The baseline in a subprocess."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "bench.baseline", str(folder), str(port)])
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600) as http:
            wait_until(lambda: answers(http), 120)
            yield http
    finally:
        server.terminate()
        server.wait(10)


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/openapi.json").status_code == 200
    except httpx.TransportError:
        return False


def main(models: Path = Path("checkpoints"), model: str = "mnist", steps: int = 100, rounds: int = 3) -> None:
    with (
        tempfile.TemporaryDirectory() as state,
        running(Service(models, Path(state))) as service,
        baseline(models / model) as http,
    ):
        classes = len(service.http.get(f"/models/{model}").json()["classes"])

        def ours(seed: int) -> object:
            same = {"model": model, "guidance_scale": 1, "sampler": "ddpm"}
            return service.fetch_images(**same, steps=steps, label=seed % classes, seed=seed)

        def theirs(seed: int) -> object:
            body = {"label": seed % classes, "steps": steps, "seed": seed}
            return http.post("/generate", params=body).raise_for_status()

        results = interleaved({"Noisemill": concurrently(ours), "baseline": concurrently(theirs)}, rounds)
    rates = {name: [CLIENTS / max(seconds) for seconds in of] for name, of in results.items()}
    first, found = rates["Noisemill"], []
    for name, of in rates.items():
        *_, p95 = statistics.quantiles([second for seconds in results[name] for second in seconds], n=20)
        found.append([name, spread(of, 2), f"{p95:.2f} s", "" if of is first else times(first, of)])
    head = [f"{CLIENTS} clients, one image of {steps} steps each", "jobs/s", "95th percentile", "speed-up"]
    text = f"`{model}`, DDPM without guidance; {rounds} rounds. {machine(default_device())}.\n\n{table(head, found)}"
    write_performance("clients", default_device(), text)


if __name__ == "__main__":
    typer.run(main)
