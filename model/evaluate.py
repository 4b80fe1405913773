"""How good samples are, judged by real data.

By a classifier that never saw a sample: how many it recognises, and how far samples lie from real images in its
features (Fréchet and kernel distance, precision and recall). By the nearest training image, beside that of real images
held out: whether samples are more than copies. Every figure comes with its sample count and an interval.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from model import images
from model.classifier import Classifier
from model.data import Dataset

CONFIDENCE = 0.9  # that the classifier must have in a class to recognise it
INTERVAL = 0.95  # what every interval means to hold
RESAMPLES = 50  # of the bootstrap
KERNEL_SUBSETS = 50
KERNEL_SUBSET_SIZE = 500
NEIGHBOURS = 3  # of precision and recall
CHUNK = 1024  # images compared at once


def evaluate(
    samples: Tensor, labels: Tensor | None, train: Dataset, test: Dataset, classifier: Classifier | None
) -> dict[str, Any]:
    """Figures of one kind of samples, as plain JSON.

    samples     float (B, C, H, W) in [-1, 1]; judged as their PNGs will show them
    labels      (B,) int64: the classes that they were asked for; None where there was none
    classifier  None where the data has no classes: distances to training images are all there is to say
    Raises ValueError where samples are missing or no floats.
    """
    if not samples.is_floating_point() or not len(samples):
        raise ValueError(f"samples must be one or more float images in [-1, 1], not {samples.dtype} {samples.shape}")
    pixels = images.to_uint8(samples)
    figures: dict[str, Any] = {"samples": len(samples)}
    if classifier is not None:
        probabilities, features = classifier.look(pixels)
        figures |= _share("recognised", recognised(probabilities, labels), len(samples))
        if labels is not None:
            figures |= _share("accuracy", accuracy(probabilities, labels), len(samples))
        _, real = classifier.look(test.images)
        _, alike = classifier.look(_evenly(train.images, len(samples)))
        if min(len(features), len(alike)) > 1:
            figures |= {
                "frechet": _beside(frechet, features, alike, real),
                "kernel": _beside(kernel, features, alike, real),
            }
            figures |= _share("precision", covered(features, real), len(features))
            figures |= _share("recall", covered(real, features), len(real))
    distances = nearest_training_distance(pixels, train.images)
    held_out = nearest_training_distance(_evenly(test.images, len(samples)).to(pixels.device), train.images)
    return {
        **figures,
        "identical_to_training": int((distances == 0).sum()),
        "nearest_training_distance": _summary(distances),
        "held_out_nearest_training_distance": _summary(held_out),
    }


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The share of (B, classes) whose most likely class is the label (B,)."""
    return (probabilities.argmax(dim=1) == labels.cpu()).double().mean().item()


def recognised(probabilities: Tensor, labels: Tensor | None = None, confidence: float = CONFIDENCE) -> float:
    """The share of (B, classes) in which one class, or that of `labels` (B,), is at least `confidence` likely."""
    likely = probabilities.amax(dim=1) if labels is None else probabilities.gather(1, labels.cpu()[:, None])[:, 0]
    return (likely >= confidence).double().mean().item()


def wilson(share: float, count: int, confidence: float = INTERVAL) -> tuple[float, float]:
    """The score interval of a share of `count` samples (Wilson 1927), which holds at shares of 0 and 1 too."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z * z / (2 * count)
    margin = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def frechet(features: Tensor, real: Tensor) -> tuple[float, float]:
    """The Fréchet distance of two sets of features (B, F) and (N, F) (Heusel et al. 2017), and its standard error.

    The error is that of resampling `features`. Few samples make the distance larger: compare at one count alone.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(features.shape[1]), reset_real_features=False)
    metric.set_dtype(torch.float64)
    metric.update(real.double(), real=True)

    def distance(sample: Tensor) -> float:
        metric.reset()
        metric.update(sample.double(), real=False)
        return float(metric.compute())

    generator = torch.Generator().manual_seed(0)
    count = len(features)
    again = [features[torch.randint(count, (count,), generator=generator)] for _ in range(RESAMPLES)]
    return distance(features), torch.tensor([distance(sample) for sample in again]).std().item()


def kernel(features: Tensor, real: Tensor) -> tuple[float, float]:
    """The kernel distance (Bińkowski et al. 2018), which is unbiased, and its spread over subsets."""
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KERNEL_SUBSET_SIZE, len(features), len(real))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric .* will save all")
        metric = KernelInceptionDistance(feature=_Given(features.shape[1]), subsets=KERNEL_SUBSETS, subset_size=size)
        torch.manual_seed(0)
        metric.update(real.double(), real=True)
        metric.update(features.double(), real=False)
        mean, spread = metric.compute()
    return float(mean), float(spread)


def covered(features: Tensor, manifold: Tensor) -> float:
    """The share of `features` (B, F) nearer to some point of `manifold` (N, F) than that point's third neighbour is.

    Precision, of samples among real images; recall, the other way round (Kynkäänniemi et al. 2019, eq. 1).
    """
    nth = min(NEIGHBOURS + 1, len(manifold))  # a point is the first neighbour of itself
    radii = torch.cat([torch.cdist(some, manifold).kthvalue(nth, dim=1).values for some in manifold.split(CHUNK)])
    near = [(torch.cdist(some, manifold) <= radii).any(dim=1) for some in features.split(CHUNK)]
    return torch.cat(near).double().mean().item()


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


class _Given(nn.Module):
    """Stands where torchmetrics expects a network: the features have been taken already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _beside(
    measure: Callable[[Tensor, Tensor], tuple[float, float]], features: Tensor, alike: Tensor, real: Tensor
) -> dict[str, Any]:
    """A distance of samples to the test set, and that of as many real training images."""

    def figures(of: Tensor) -> dict[str, Any]:
        value, error = measure(of, real)
        margin = NormalDist().inv_cdf((1 + INTERVAL) / 2) * error
        return {"distance": round(value, 4), "interval": [round(value - margin, 4), round(value + margin, 4)]}

    return {**figures(features), "as_many_training_images": {"images": len(alike), **figures(alike)}}


def _share(name: str, share: float, count: int) -> dict[str, Any]:
    return {name: round(share, 4), f"{name}_interval": [round(bound, 4) for bound in wilson(share, count)]}


def _summary(distances: Tensor) -> dict[str, Any]:
    if not len(distances):
        return {"images": 0}
    quantiles = {"min": 0.0, "1%": 0.01, "median": 0.5}
    return {"images": len(distances)} | {name: round(distances.quantile(q).item(), 2) for name, q in quantiles.items()}


def _evenly(pixels: Tensor, count: int) -> Tensor:
    """`count` images spread over all of them, which may be sorted by class; all where there are not so many."""
    count = min(count, len(pixels))
    return pixels[torch.arange(count) * len(pixels) // max(1, count)]
