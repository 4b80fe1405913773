"""An image is a function of its request: the same PNG bytes in any batch, split or process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import Service

PICTURE = {"model": "mnist", "seed": 7, "steps": 100, "label": 5, "guidance_scale": 1.5}


@pytest.fixture(scope="module")
def sixteen(service: Service) -> list[bytes]:
    return service.images(service.generate(**PICTURE, count=16))


def test_same_request_twice_gives_the_same_bytes(service: Service, sixteen: list[bytes]) -> None:
    assert service.images(service.generate(**PICTURE, count=16)) == sixteen


def test_smaller_count_gives_the_same_bytes(service: Service, sixteen: list[bytes]) -> None:
    assert service.images(service.generate(**PICTURE, count=4, frames=0)) == sixteen[:4]


def test_first_index_alone_gives_the_same_bytes(service: Service, sixteen: list[bytes]) -> None:
    assert service.images(service.generate(**PICTURE, count=1, first_index=3)) == [sixteen[3]]


def test_other_jobs_in_the_batch_give_the_same_bytes(service: Service, sixteen: list[bytes]) -> None:
    others = [service.generate(model="mnist", count=5, seed=i, steps=60 + i, sampler="ddpm_beta") for i in (1, 2)]
    together = service.generate(**PICTURE, count=4)
    assert service.images(together) == sixteen[:4]
    for other in others:
        service.finished(other)


def test_several_waves_give_the_same_bytes(service: Service, sixteen: list[bytes]) -> None:
    """More images than the batch has slots, so they enter in waves, beside another job."""
    other = service.generate(model="mnist", count=40, seed=1, steps=30)
    job = service.generate(**PICTURE, count=70)
    assert service.images(job)[:16] == sixteen
    service.finished(other)


def test_sample_command_gives_the_same_bytes(service: Service, sixteen: list[bytes], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "noisemill",
        "sample",
        str(service.models / "mnist"),
        "--out",
        str(tmp_path),
    ]
    command += ["--count", "4", "--seed", "7", "--steps", "100", "--label", "5", "--guidance", "1.5"]
    subprocess.run(command, check=True, timeout=180)
    assert [(tmp_path / f"{i:05d}.png").read_bytes() for i in range(4)] == sixteen[:4]


SAMPLE_AFTER_DIGITS = """
import sys
from pathlib import Path
import torch
from jobs.resolve import resolve
from jobs.schema import GenerateRequest
from model.images import png
from worker import offline

models, out = Path(sys.argv[1]), Path(sys.argv[2])
for name, request in (("digits", {"steps": 1}), ("mnist", {"count": 4, "seed": 7, "steps": 100, "label": 5})):
    model = offline.load(models / name, torch.device("cpu"))
    spec = resolve(GenerateRequest(**request, guidance_scale=1.5), model.card)
    for i, image in enumerate(offline.sample(model, spec)):
        (out / f"{name}{i}.png").write_bytes(png(image, spec.recipe(i, model.network.build)))
"""


def test_order_of_compilation_gives_the_same_bytes(service: Service, sixteen: list[bytes], tmp_path: Path) -> None:
    command = [sys.executable, "-c", SAMPLE_AFTER_DIGITS, str(service.models), str(tmp_path)]
    subprocess.run(command, check=True, timeout=240)
    assert [(tmp_path / f"mnist{i}.png").read_bytes() for i in range(4)] == sixteen[:4]
