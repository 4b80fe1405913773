"""Training speed of Noisemill and of diffusers' `train_unconditional` loop with the same network: python -m bench.train

The loop is an example script (diffusers' examples/unconditional_image_generation), so its step is reimplemented here
with the same components and defaults: DataLoader and transforms, `DDPMScheduler.add_noise`, an eager `UNet2DModel`,
gradient clipping at 1, AdamW (0.95, 0.999), a cosine schedule, `EMAModel`; in float32, and under its bf16 option.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from bench.report import interleaved, machine, spread, table, timed, times, write_performance
from model import checkpoint, data, images
from model.data import Dataset
from model.hardware import default_device
from model.training.recipe import Recipe
from model.training.train import Trainer

Step = Callable[[], object]


class PilDataset(TorchDataset[Any]):
    """The data set as the loop reads it: Pillow images, transformed one by one."""

    def __init__(self, dataset: Dataset) -> None:
        self.pictures = [images.to_pil(pixels) for pixels in dataset.images]
        self.labels = dataset.labels
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.pictures[index]), 0 if self.labels is None else int(self.labels[index])


def reference(folder: Path, dataset: Dataset, recipe: Recipe, device: torch.device, *, bf16: bool) -> Step:
    """One step of diffusers' loop, on the network saved in `folder`."""
    network = UNet2DModel.from_pretrained(str(folder / "unet"), low_cpu_mem_usage=False).to(device).train()
    scheduler = DDPMScheduler(num_train_timesteps=recipe.schedule.num_train_timesteps)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=100_000)
    average = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4)
    loader = DataLoader(PilDataset(dataset), batch_size=recipe.training.batch_size, shuffle=True, drop_last=True)

    def batches() -> Iterator[Any]:
        while True:
            yield from loader

    source = batches()

    def step() -> float:
        clean, labels = (tensor.to(device) for tensor in next(source))
        noise = torch.randn(clean.shape, device=device)
        timesteps = torch.randint(0, scheduler.config.num_train_timesteps, (len(clean),), device=device)
        noisy = scheduler.add_noise(clean, noise, timesteps)
        classes = None if dataset.labels is None else labels
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            predicted = network(noisy, timesteps, class_labels=classes).sample
        loss = F.mse_loss(predicted.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        rate.step()
        optimizer.zero_grad()
        average.step(network.parameters())
        return loss.item()

    return step


def rate(step: Step, images: int, steps: int) -> Callable[[int], float]:
    """One round of `steps` steps, in images/s."""
    return lambda _: images * steps / timed(lambda: [step() for _ in range(steps)])


def main(
    recipe: Annotated[Path, typer.Argument()] = Path("recipes/mnist.toml"),
    data_root: Path | None = None,
    rounds: int = 7,
    steps: Annotated[int, typer.Option(help="Steps of each side per round.")] = 10,
    device: str | None = None,
) -> None:
    what, where = Recipe.read(recipe), default_device(device)
    size = what.training.batch_size
    dataset = data.load(what.data.source, root=data_root, size=what.data.size)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(what, dataset, Path(folder) / "run", device=str(where))
        checkpoint.save(Path(folder) / "start", trainer.unet, what.schedule, checkpoint.Card(classes=dataset.classes))
        reports = trainer.train()
        sides: dict[str, Step] = {"Noisemill": lambda: next(reports)}
        for name, bf16 in (("diffusers' loop, float32 (its default)", False), ("diffusers' loop, bf16", True)):
            sides[name] = reference(Path(folder) / "start", dataset, what, where, bf16=bf16)
        rates = interleaved({name: rate(step, size, steps) for name, step in sides.items()}, rounds)
        reports.close()
    ours = rates["Noisemill"]
    found = [[name, spread(theirs), "" if theirs is ours else times(ours, theirs)] for name, theirs in rates.items()]
    head = ["", "images/s: median (min to max)", "speed-up"]
    what_was = f"`{recipe}`: batches of {size}, {rounds} rounds of {steps} steps each. {machine(where)}."
    write_performance("training", where, f"{what_was}\n\n{table(head, found)}")


if __name__ == "__main__":
    typer.run(main)
