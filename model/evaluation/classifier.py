"""A small classifier, trained on real images only, that recognises samples and extracts their features."""

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

VERSION = 1  # part of the cache key: increment it when the network or its training changes
STEPS = 1200
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 5e-3
WIDTHS = (32, 64, 128, 256)  # channels of the convolutions; the last is repeated for images that are halved more often
LARGEST_SIDE = 7  # maximum side of the last convolution's maps
CHUNK = 1024  # images per forward pass


class Classifier(nn.Module):
    """Convolutions with batch norm and max pooling between them, then one linear layer."""

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
        """Images (B, C, H, W) -> logits (B, classes), and features (B, F): the means of the last maps."""
        maps = self.features(x)
        return self.head(maps.flatten(1)), maps.mean(dim=(2, 3))

    @torch.no_grad()
    def predict(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 (B, C, H, W) -> class probabilities (B, classes) and features (B, F), float32 on the CPU."""
        device = self.head.weight.device
        outputs = [self(images.from_uint8(chunk.to(device))) for chunk in pixels.split(CHUNK)]
        logits, features = (torch.cat([output[i] for output in outputs]).float().cpu() for i in (0, 1))
        return logits.softmax(dim=1), features


def train(data: Dataset, cache: Path, *, device: str | torch.device = "cpu", seed: int = 0) -> Classifier:
    """Trains a classifier of `data`, or loads its weights from the folder `cache`.

    `seed` determines the weights on one device. Raises ValueError for data without images or without classes.
    """
    if data.labels is None or not len(data):
        raise ValueError(f"{data.source} needs images with classes to train a classifier")
    path = cache / _cache_name(data, seed)
    network = _untrained(data, seed).to(device)
    try:
        network.load_state_dict(load_file(path, device=str(device)))
    except (OSError, SafetensorError, RuntimeError):  # absent or damaged
        _train(network, data, seed)
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}))
    return network.eval().requires_grad_(False)


def _untrained(data: Dataset, seed: int) -> Classifier:
    """The network with initial weights drawn from `seed`; the global generator keeps its state."""
    _, channels, size, _ = data.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Convolutions on a CPU are two to three times as fast with channels last.
        return Classifier(channels, size, len(data.classes)).to(memory_format=torch.channels_last)


def _train(network: Classifier, data: Dataset, seed: int) -> None:
    """AdamW with the one-cycle learning rate (Smith & Topin 2018)."""
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
    """Yields STEPS batches, uint8 (B, C, H, W) and (B,), from shuffled epochs that may be shorter than a batch."""
    assert data.labels is not None
    generator = torch.Generator().manual_seed(seed)
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(STEPS):
        while len(order) < BATCH_SIZE:
            order = torch.cat([order, torch.randperm(len(data), generator=generator)])
        chosen, order = order[:BATCH_SIZE], order[BATCH_SIZE:]
        yield data.images[chosen], data.labels[chosen]


def _cache_name(data: Dataset, seed: int) -> str:
    """A file name from source, size, seed and a digest of the data: two folders may share their name."""
    assert data.labels is not None
    content = hashlib.sha256(data.images.numpy().tobytes() + data.labels.numpy().tobytes()).hexdigest()[:12]
    size = data.images.shape[-1]
    return f"classifier-{data.source}-{size}-{content}-seed{seed}-v{VERSION}.safetensors"
