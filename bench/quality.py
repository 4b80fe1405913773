"""Sample quality of the engine and of the baseline: python -m bench.quality

Distances to real images of the engine's samples, in the engine's precision, and of those of `DDPMPipeline`'s loop in
float32, with the same weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import typer
from torchvision.transforms.functional import pil_to_tensor

from bench.baseline import Pipeline
from bench.report import machine, table, write_performance
from jobs.resolve import resolve
from jobs.schema import CYCLE, GenerateRequest
from model import data
from model.evaluation.reference import Reference
from model.hardware import default_device
from model.images import from_uint8
from worker import offline

BATCH = 100


def main(
    model: Path = Path("checkpoints/mnist"),
    data_root: Path | None = None,
    count: int = 500,
    steps: int = 100,
    cache: Path = Path("var/evaluate"),
) -> None:
    device = default_device()
    loaded, baseline = offline.load(model, device), Pipeline(model, device)
    card = loaded.card
    request = GenerateRequest(count=count, seed=0, steps=steps, sampler="ddpm", label=CYCLE, guidance_scale=1.0)
    spec = resolve(request, card)
    labels = torch.tensor(spec.labels)
    theirs = [picture for i, of in enumerate(labels.split(BATCH)) for picture in baseline(of, steps, seed=i)]
    samples = {
        f"Noisemill, {str(loaded.network.dtype).removeprefix('torch.')}": offline.sample(loaded, spec),
        "`DDPMPipeline`'s loop, float32": torch.stack([pil_to_tensor(picture) for picture in theirs]),
    }
    train, test = (
        data.load(card.data["source"], root=data_root, split=split, size=card.image_size) for split in data.SPLITS
    )
    reference = Reference(train, test, cache, device)
    found = [[name, *figures(reference.compare(from_uint8(pixels), labels))] for name, pixels in samples.items()]
    head = ["", "accuracy", "Fréchet distance", "kernel distance"]
    text = f"{count} samples of `{card.name}`, {steps} steps of DDPM without guidance. {machine(device)}."
    write_performance("quality", device, f"{text}\n\n{table(head, found)}")


def figures(of: dict[str, Any]) -> list[str]:
    distances = [of[name] for name in ("frechet", "kernel")]
    return [
        f"{of['accuracy']:.1%}",
        *(f"{each['distance']:.4f} ({each['interval'][0]:.4f} to {each['interval'][1]:.4f})" for each in distances),
    ]


if __name__ == "__main__":
    typer.run(main)
