"""A small classifier of a data set: what judges samples, since it has learnt from real images alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import chain, repeat
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model import images
from model.checkpoint import write_atomically
from model.data import Dataset

VERSION = 1  # part of the cache's key: raise it with every change to the network or its training
STEPS = 1200
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 5e-3
WIDTHS = (32, 64, 128, 256)  # of the convolutions, the last one again where images have more halvings to give
LARGEST_SIDE = 7  # of what the last convolution sees
CHUNK = 1024  # images looked at together


class Classifier(nn.Module):
    """Convolutions with batch norm, halving between them, and a linear layer over what is left."""

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for width in chain(WIDTHS, repeat(WIDTHS[-1])):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
            if size <= LARGEST_SIDE:
                break
            layers.append(nn.MaxPool2d(2))
            size //= 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels * size * size, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, H, W) -> logits (B, classes), and the means of the last maps (B, F)."""
        maps = self.features(x)
        return self.head(maps.flatten(1)), maps.mean(dim=(2, 3))

    @torch.no_grad()
    def look(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) -> how likely each class is (B, classes), and features (B, F): float32, on the CPU."""
        device = self.head.weight.device
        looks = [self(images.from_uint8(chunk.to(device))) for chunk in pixels.split(CHUNK)]
        logits, features = (torch.cat([look[i] for look in looks]).float().cpu() for i in (0, 1))
        return logits.softmax(dim=1), features


def train(data: Dataset, cache: Path, *, device: str | torch.device = "cpu", seed: int = 0) -> Classifier:
    """A classifier of `data`, its weights from the folder `cache` where they lie there already.

    On one device `seed` fixes the weights. Raises ValueError where there are no images, or no classes.
    """
    if data.labels is None or not len(data):
        raise ValueError(f"{data.source} needs images with classes to train a classifier")
    path = cache / _cache_name(data, seed)
    network = _untrained(data, seed).to(device)
    try:
        network.load_state_dict(load_file(path, device=str(device)))
    except (OSError, SafetensorError, RuntimeError):  # absent or damaged: the weights can be had again
        _train(network, data, seed)
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}))
    return network.eval().requires_grad_(False)


def _untrained(data: Dataset, seed: int) -> Classifier:
    """The network as `seed` draws it; the global generator is left as it was."""
    _, channels, size, _ = data.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Channels last is what convolutions on a CPU are made for: two to three times as fast here.
        return Classifier(channels, size, len(data.classes)).to(memory_format=torch.channels_last)


def _train(network: Classifier, data: Dataset, seed: int) -> None:
    """AdamW under one cycle of the learning rate (Smith & Topin 2018)."""
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=STEPS)
    network.train()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        for x, labels in _batches(data, seed):
            logits, _ = network(images.from_uint8(x.to(device)))
            loss = F.cross_entropy(logits, labels.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _batches(data: Dataset, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """STEPS batches, uint8 (B, C, H, W) and (B,): every image once an epoch, however few there are."""
    assert data.labels is not None
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(STEPS):
        while len(order) < BATCH_SIZE:
            order = torch.cat([order, torch.randperm(len(data), generator=generator)])
        chosen, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        yield data.images[chosen], data.labels[chosen]


def _cache_name(data: Dataset, seed: int) -> str:
    """One name for one classifier: of what, at which size, and of which data exactly (two folders may share a name)."""
    assert data.labels is not None
    content = hashlib.sha256(data.images.numpy().tobytes() + data.labels.numpy().tobytes()).hexdigest()[:12]
    size = data.images.shape[-1]
    return f"classifier-{data.source}-{size}-{content}-seed{seed}-v{VERSION}.safetensors"
