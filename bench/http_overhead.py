"""HTTP overhead: python -m bench.http_overhead

Compares jobs with and without frames and watchers, and jobs through the service with the engine alone. Measures the
latency of `POST /generate` while the worker keeps all cores busy, and an app with many watchers.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import typer

from bench.report import interleaved, machine, spread, table, timed, times, write_performance
from bench.watchers import watch
from jobs.resolve import resolve
from jobs.schema import GenerateRequest
from model.hardware import default_device
from tests.service import Service, running, wait_until
from worker import offline
from worker.catalog import Model

WATCHERS = 10
MANY_WATCHERS = 500
POSTS_A_SECOND = 50
POST_SECONDS = 20
WARM_STEPS = 10  # in the warm-up round

Request = dict[str, Any]
Row = list[str]


def main(models: Path = Path("checkpoints"), model: str = "mnist", rounds: int = 3) -> None:
    request = {"model": model, "guidance_scale": 1.0, "sampler": "ddpm"}
    engine = offline.load(models / model, default_device())
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:
        service.finished(service.generate(**request, steps=5))
        found = [
            asyncio.run(watched(service, request, rounds)),
            submitted(service, engine, {**request, "steps": 20}, 10 * rounds),
            submitted(service, engine, {**request, "steps": 1000, "count": 64}, 1),
            asyncio.run(posted(service, request)),
            asyncio.run(many_watchers(service, request)),
        ]
    text = f"`{model}`, DDPM without guidance. {machine(default_device())}.\n\n{table(['measured', '', ''], found)}"
    write_performance("http-overhead", default_device(), text)


async def watched(service: Service, request: Request, rounds: int) -> Row:
    """Throughput without frames and watchers, and with both."""

    async def rate(frames: int, watchers: int) -> float:
        began = time.perf_counter()
        job = service.generate(**request, count=64, steps=300, frames=frames)
        await asyncio.gather(*(watch(service, job) for _ in range(watchers + 1)))
        return 64 / (time.perf_counter() - began)

    bare, seen = [], []
    for turn in range(rounds + 1):
        one, other = await rate(0, 0), await rate(20, WATCHERS)
        if turn:
            bare.append(one)
            seen.append(other)
    what = f"64 images of 300 steps, images/s: without frames, and with 20 frames and {WATCHERS} watchers"
    return [what, f"{spread(bare)}; {spread(seen)}", times(seen, bare)]


def submitted(service: Service, model: Model, request: Request, rounds: int) -> Row:
    """Seconds from the request to its `done` event, and seconds of the engine alone."""
    spec = resolve(GenerateRequest(**request, seed=1), model.card)

    def body(turn: int) -> Request:
        return {**request, "seed": 1, "steps": request["steps"] if turn else WARM_STEPS}

    def through(turn: int) -> float:
        return timed(lambda: list(service.events(service.generate(**body(turn)))))

    def alone(turn: int) -> float:
        return timed(lambda: offline.sample(model, resolve(GenerateRequest(**body(turn)), model.card)))

    results = interleaved({"service": through, "engine": alone}, rounds)
    over = [1000 * (a - b) for a, b in zip(results["service"], results["engine"], strict=True)]
    what = f"{spec.count} × {spec.steps} steps, seconds: through the service, and by the engine alone"
    share = statistics.median(over) / 10 / statistics.median(results["engine"])
    return [
        what,
        f"{spread(results['service'], 2)}; {spread(results['engine'], 2)}",
        f"{spread(over, 0)} ms, {share:.1f} %",
    ]


async def posted(service: Service, request: Request) -> Row:
    """Latency of POST /generate at a steady rate while a large job keeps the worker busy."""
    large = service.generate(**request, count=1000, steps=1000)
    results: list[float] = []
    async with httpx.AsyncClient(base_url=service.url, timeout=30) as http:

        async def post() -> None:
            began = time.perf_counter()
            answer = await http.post("/generate", json={**request, "steps": 1, "priority": "batch"})
            results.append(1000 * (time.perf_counter() - began))
            answer.raise_for_status()

        await post()
        async with asyncio.TaskGroup() as group:
            began = time.perf_counter()
            for i in range(POSTS_A_SECOND * POST_SECONDS):
                await asyncio.sleep(began + i / POSTS_A_SECOND - time.perf_counter())
                group.create_task(post())
    service.http.delete(large["urls"]["job"])
    *_, p99 = statistics.quantiles(results, n=100)
    wait_until(lambda: is_idle(service), 600)
    what = f"`POST /generate`, {POSTS_A_SECOND}/s for {POST_SECONDS} s while a large job runs"
    return [what, f"median {statistics.median(results):.0f} ms", f"99th percentile {p99:.0f} ms"]


async def many_watchers(service: Service, request: Request) -> Row:
    """Many watchers of one job on one app: number of missed events, and the app's memory."""
    job, app = service.generate(**request, count=16, steps=1000, frames=100), service.pid("app")
    memory: list[float] = []

    async def sample_memory() -> None:
        while True:
            memory.append(resident(app))
            await asyncio.sleep(1)

    sampling = asyncio.create_task(sample_memory())
    expected, *others = await asyncio.gather(*(watch(service, job) for _ in range(MANY_WATCHERS)))
    sampling.cancel()
    missed = sum(len(set(expected) - set(other)) + len(set(other) - set(expected)) for other in others)
    half = memory[len(memory) // 2]
    what = f"{MANY_WATCHERS} watchers of one job of 100 frames: missed events; the app's memory"
    return [
        what,
        f"{missed} of {MANY_WATCHERS * len(expected)}",
        f"{half:.0f} MB half way, {memory[-1]:.0f} MB at the end",
    ]


def is_idle(service: Service) -> bool:
    lines = service.http.get("/metrics").text.splitlines()
    return all(line.endswith(" 0.0") for line in lines if line.startswith("noisemill_jobs_active{"))


def resident(pid: int) -> float:
    """Resident memory of a process in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1000


if __name__ == "__main__":
    typer.run(main)
