"""Redis memory per job, image and frame, into docs/redis.md: python -m bench.redis_memory

Jobs run through the service; `MEMORY USAGE` then gives the bytes of every key that belongs to them.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import typer
from redis import Redis

from bench.report import machine, table, write_section
from model.hardware import default_device
from tests.service import Service, running

PAGE = Path("docs/redis.md")
IMAGES = 64


def key_bytes(redis: Redis, job_id: str) -> dict[str, int]:
    """Bytes of each key of a job."""
    names = [name.decode() for name in redis.scan_iter(f"*{job_id}*", count=1000)]
    return {name: int(redis.memory_usage(name, samples=0) or 0) for name in names}


def measure(service: Service, redis: Redis, request: dict[str, Any]) -> list[str]:
    """Bytes per image, per frame of an image, and of the rest of a job."""
    job = service.generate(**request, count=IMAGES, steps=20, frames=20)
    service.finished(job, seconds=900)  # a first job waits for compilation
    frames = sum(len(event.data["images"]) for event in service.events(job) if event.type == "frame")
    sizes = key_bytes(redis, job["id"])
    images = sizes.pop(f"noisemill:images:{job['id']}")
    events = sizes.pop(f"noisemill:events:{job['id']}")
    return [f"`{request['model']}`", f"{sum(sizes.values()):,}", f"{images / IMAGES:,.0f}", f"{events / frames:,.0f}"]


def main(models: Path = Path("checkpoints")) -> None:
    with tempfile.TemporaryDirectory() as state, running(Service(models, Path(state))) as service:
        names = [card["name"] for card in service.http.get("/models").json()["models"]]
        with Redis.from_url(service.redis_url) as redis:
            rows = [measure(service, redis, {"model": name, "label": "cycle"}) for name in names]
            version = redis.info("server")["redis_version"]
    head = ["model", f"bytes per job of {IMAGES} images", "bytes per image", "bytes per frame of an image"]
    write_section(PAGE, "memory", f"{table(head, rows)}\n\nRedis {version}; {machine(default_device())}.")


if __name__ == "__main__":
    typer.run(main)
