"""How good samples are, judged by real data: a classifier that never saw a sample, and the nearest training image.

A share of samples that it recognises says whether they look like the data; the distance to the nearest
training image, beside that of real images held out, says whether they are more than copies of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from model import images
from model.checkpoint import write_atomically
from model.data import Dataset

CLASSIFIER_VERSION = 1  # part of the cache's key: raise it with every change to the network or its training
STEPS = 1200
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 5e-3
WIDTHS = (32, 64, 128, 256)  # of the convolutions, the last one again where images have more halvings to give
LARGEST_SIDE = 7  # of what the last convolution sees

CONFIDENCE = 0.9  # that the classifier must have in a class to recognise it
CHUNK = 1024  # images looked at together


class ConvNet(nn.Module):
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
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Linear(channels * size * size, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) -> logits (B, classes)."""
        logits: Tensor = self.head(self.features(x))
        return logits


@dataclass(frozen=True, slots=True)
class Classifier:
    """`accuracy` is measured on the test split, which it has not learnt from."""

    network: nn.Module
    accuracy: float

    def probabilities(self, x: Tensor) -> Tensor:
        """How likely each class is: images (B, C, H, W) in [-1, 1] -> (B, classes) float32, on the CPU."""
        return _probabilities(self.network, x)


def classifier(
    train: Dataset, test: Dataset, cache: Path, *, device: str | torch.device = "cpu", seed: int = 0
) -> Classifier:
    """A classifier of `train`, its weights from the folder `cache` where they lie there already.

    On one device `seed` fixes the weights. Raises ValueError where either data set has no labels or no images.
    """
    if train.labels is None or test.labels is None or not len(train) or not len(test):
        raise ValueError(f"{train.source} needs images with classes in both splits to train a classifier")
    path = cache / _cache_name(train, seed)
    network = _untrained(train, seed).to(device)
    try:
        network.load_state_dict(load_file(path, device=str(device)))
    except (OSError, SafetensorError, RuntimeError):  # absent or damaged: the weights can be had again
        _train(network, train, seed)
        cache.mkdir(parents=True, exist_ok=True)
        write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}))
    network.eval().requires_grad_(False)
    return Classifier(network, accuracy(_probabilities(network, images.from_uint8(test.images)), test.labels))


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The share of (B, classes) whose most likely class is the label (B,)."""
    return (probabilities.argmax(dim=1) == labels.cpu()).double().mean().item()


def recognised(probabilities: Tensor, labels: Tensor | None = None, confidence: float = CONFIDENCE) -> float:
    """The share of (B, classes) in which one class, or that of `labels` (B,), is at least `confidence` likely."""
    likely = probabilities.amax(dim=1) if labels is None else probabilities.gather(1, labels.cpu()[:, None])[:, 0]
    return (likely >= confidence).double().mean().item()


def wilson(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a share of `count` samples (Wilson 1927), which holds at shares of 0 and 1 too."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z * z / (2 * count)
    margin = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def nearest_training_distance(samples: Tensor, train: Tensor) -> Tensor:
    """L2 distance in grey levels from each sample to the nearest training image: (B,) float64 on the samples' device.

    samples, train  uint8 (B, C, H, W) and (N, C, H, W). Exact: 0 means, and only means, the same pixels.
    """
    # Squares of whole numbers below 2^53: float64 products are exact, where float32 ones would not be.
    a = samples.flatten(1).double()
    nearest = torch.full((len(a),), torch.inf, dtype=torch.float64, device=a.device)
    for chunk in train.split(CHUNK):
        b = chunk.to(a.device).flatten(1).double()
        squared = a.square().sum(dim=1)[:, None] - 2 * a @ b.T + b.square().sum(dim=1)[None]  # (B, chunk)
        nearest = torch.minimum(nearest, squared.amin(dim=1))
    return nearest.sqrt()


def evaluate(
    unconditional: Tensor | None,
    conditional: Tensor | None,
    labels: Tensor | None,
    train: Dataset,
    test: Dataset,
    classifier: Classifier | None,
) -> dict[str, Any]:
    """Figures of a model's samples, as plain JSON: what the card keeps under `metrics`.

    unconditional, conditional  float (B, C, H, W) in [-1, 1], or None; judged as their PNGs will show them
    labels                      (B,) int64: the classes that `conditional` was asked for
    classifier                  None where the data has no classes: distances are all there is to say
    Raises ValueError where samples are missing, not floats, or come without their labels.
    """
    if unconditional is None and conditional is None:
        raise ValueError("there are no samples to evaluate")
    if (conditional is None) != (labels is None):
        raise ValueError("conditional samples and their labels go together")
    figures: dict[str, Any] = {}
    if classifier is not None:
        figures["classifier"] = {"accuracy": round(classifier.accuracy, 4), "test_images": len(test)}
    for name, samples, asked in (
        ("unconditional", unconditional, None),
        ("conditional", conditional, labels),
    ):
        if samples is not None:
            figures[name] = _figures(samples, asked, train, test, classifier)
    return figures


def _figures(
    samples: Tensor, labels: Tensor | None, train: Dataset, test: Dataset, classifier: Classifier | None
) -> dict[str, Any]:
    if not samples.is_floating_point() or not len(samples):
        raise ValueError(f"samples must be one or more float images in [-1, 1], not {samples.dtype} {samples.shape}")
    pixels = images.to_uint8(samples)
    figures: dict[str, Any] = {"samples": len(samples)}
    if classifier is not None:
        probabilities = classifier.probabilities(images.from_uint8(pixels))
        figures |= _share("recognised", recognised(probabilities, labels), len(samples))
        if labels is not None:
            figures |= _share("accuracy", accuracy(probabilities, labels), len(samples))
    distances = nearest_training_distance(pixels, train.images)
    held_out = _evenly(test.images, len(samples)).to(pixels.device)
    return {
        **figures,
        "identical_to_training": int((distances == 0).sum()),
        "nearest_training_distance": _summary(distances),
        "held_out_nearest_training_distance": _summary(nearest_training_distance(held_out, train.images)),
    }


def _share(name: str, share: float, count: int) -> dict[str, Any]:
    return {name: round(share, 4), f"{name}_interval": [round(bound, 4) for bound in wilson(share, count)]}


def _summary(distances: Tensor) -> dict[str, Any]:
    if not len(distances):
        return {"images": 0}
    least, middle = distances.min().item(), distances.quantile(0.5).item()
    return {"images": len(distances), "min": round(least, 2), "median": round(middle, 2)}


def _evenly(pixels: Tensor, count: int) -> Tensor:
    """`count` images spread over all of them, which may be sorted by class; all where there are not so many."""
    count = min(count, len(pixels))
    return pixels[torch.arange(count) * len(pixels) // max(1, count)]


def _untrained(data: Dataset, seed: int) -> nn.Module:
    """The network as `seed` draws it; the global generator is left as it was."""
    _, channels, size, _ = data.images.shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Channels last is what convolutions on a CPU are made for: two to three times as fast here.
        return ConvNet(channels, size, len(data.classes)).to(memory_format=torch.channels_last)


def _train(network: nn.Module, data: Dataset, seed: int) -> None:
    """AdamW under one cycle of the learning rate (Smith & Topin 2018)."""
    device = next(network.parameters()).device
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=STEPS)
    network.train()
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        for x, labels in _batches(data, seed):
            loss = F.cross_entropy(network(images.from_uint8(x.to(device))), labels.to(device))
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


@torch.no_grad()
def _probabilities(network: nn.Module, x: Tensor) -> Tensor:
    device = next(network.parameters()).device
    return torch.cat([network(chunk.to(device)).float().softmax(dim=1).cpu() for chunk in x.split(CHUNK)])


def _cache_name(data: Dataset, seed: int) -> str:
    """One name for one classifier: of what, at which size, and of which data exactly (two folders may share a name)."""
    assert data.labels is not None
    content = hashlib.sha256(data.images.numpy().tobytes() + data.labels.numpy().tobytes()).hexdigest()[:12]
    size = data.images.shape[-1]
    return f"classifier-{data.source}-{size}-{content}-seed{seed}-v{CLASSIFIER_VERSION}.safetensors"
