"""The baseline: `DDPMPipeline`'s loop, and a FastAPI handler around it that serves one request at a time.

python -m bench.baseline FOLDER PORT runs the handler.
"""

from __future__ import annotations

import io
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
import uvicorn
from diffusers import DDPMScheduler, UNet2DModel
from fastapi import FastAPI, Response
from PIL import Image


class Pipeline:
    """`DDPMPipeline.__call__` with class labels, which it cannot pass to its network."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.device = device
        self.unet = UNet2DModel.from_pretrained(str(folder / "unet"), low_cpu_mem_usage=False).to(device).eval()
        self.scheduler = DDPMScheduler.from_pretrained(str(folder / "scheduler"))

    @torch.no_grad()
    def __call__(self, labels: torch.Tensor, steps: int, seed: int) -> list[Image.Image]:
        generator = torch.Generator().manual_seed(seed)
        channels, size = self.unet.config.in_channels, self.unet.config.sample_size
        image = torch.randn(len(labels), channels, size, size, generator=generator).to(self.device)
        labels = labels.to(self.device)
        self.scheduler.set_timesteps(steps)
        for t in self.scheduler.timesteps:
            output = self.unet(image, t, class_labels=labels).sample
            image = self.scheduler.step(output, t, image, generator=generator).prev_sample
        pixels = ((image / 2 + 0.5).clamp(0, 1) * 255).round().byte().cpu()
        return [Image.fromarray(each.permute(1, 2, 0).squeeze(2).numpy()) for each in pixels]


def create_app(pipeline: Pipeline) -> FastAPI:
    # One thread: each of several would start its own OpenMP threads, and all would be slower.
    app, executor = FastAPI(), ThreadPoolExecutor(1)

    @app.post("/generate")
    def generate(label: int, steps: int, seed: int) -> Response:
        buffer = io.BytesIO()
        executor.submit(pipeline, torch.tensor([label]), steps, seed).result()[0].save(buffer, "PNG")
        return Response(buffer.getvalue(), media_type="image/png")

    return app


if __name__ == "__main__":
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    uvicorn.run(create_app(Pipeline(folder, torch.device("cpu"))), host="127.0.0.1", port=port, log_level="warning")
