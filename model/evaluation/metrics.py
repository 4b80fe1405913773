"""Metrics of samples: shares with their intervals, and distances from real images in a classifier's features."""

from __future__ import annotations

import math
import warnings
from statistics import NormalDist

import torch
from torch import Tensor, nn

CONFIDENCE = 0.9  # minimum probability of a class that counts as recognised
INTERVAL = 0.95  # confidence level of every interval
BOOTSTRAP_RESAMPLES = 50
KERNEL_SUBSETS = 50
KERNEL_SUBSET_SIZE = 500
NEIGHBOURS = 3  # k of precision and recall
CHUNK = 1024  # images per comparison


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """The share of probabilities (B, classes) whose most likely class is the label (B,)."""
    return (probabilities.argmax(dim=1) == labels.cpu()).double().mean().item()


def recognised(probabilities: Tensor, labels: Tensor | None = None, confidence: float = CONFIDENCE) -> float:
    """The share of probabilities (B, classes) that give `confidence` to the class in `labels` (B,), or to any class."""
    likely = probabilities.amax(dim=1) if labels is None else probabilities.gather(1, labels.cpu()[:, None])[:, 0]
    return (likely >= confidence).double().mean().item()


def wilson(share: float, count: int, confidence: float = INTERVAL) -> tuple[float, float]:
    """The score interval of a share of `count` samples (Wilson 1927), which is valid at shares of 0 and 1 too."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = share + z * z / (2 * count)
    margin = z * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
    scale = 1 + z * z / count
    return max(0.0, (centre - margin) / scale), min(1.0, (centre + margin) / scale)


def frechet(features: Tensor, real: Tensor) -> tuple[float, float]:
    """The Fréchet distance of two sets of features (B, F) and (N, F) (Heusel et al. 2017), and its standard error.

    The error is a bootstrap over `features`. The distance grows as samples get fewer: compare at equal counts only.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=PrecomputedFeatures(features.shape[1]), reset_real_features=False)
    metric.set_dtype(torch.float64)
    metric.update(real.double(), real=True)

    def distance(sample: Tensor) -> float:
        metric.reset()
        metric.update(sample.double(), real=False)
        return float(metric.compute())

    generator = torch.Generator().manual_seed(0)
    count = len(features)
    draws = [torch.randint(count, (count,), generator=generator) for _ in range(BOOTSTRAP_RESAMPLES)]
    return distance(features), torch.tensor([distance(features[drawn]) for drawn in draws]).std().item()


def kernel(features: Tensor, real: Tensor) -> tuple[float, float]:
    """The kernel distance (Bińkowski et al. 2018), which is unbiased, and an upper bound of its standard error.

    The bound is the standard deviation over random subsets of at most half of the images, drawn without replacement:
    a half varies about the whole as the whole does about its population (Politis & Romano 1994).
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KERNEL_SUBSET_SIZE, len(features) // 2, len(real) // 2)
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Metric .* will save all")
        network = PrecomputedFeatures(features.shape[1])
        metric = KernelInceptionDistance(feature=network, subsets=KERNEL_SUBSETS, subset_size=size)
        torch.manual_seed(0)
        metric.update(real.double(), real=True)
        metric.update(features.double(), real=False)
        mean, spread = metric.compute()
    return float(mean), float(spread)


def coverage(features: Tensor, manifold: Tensor) -> float:
    """The share of `features` (B, F) nearer to some point of `manifold` (N, F) than that point's third neighbour is.

    Precision is the coverage of samples by real images, recall that of real images by samples (Kynkäänniemi et al.
    2019, eq. 1).
    """
    nth = min(NEIGHBOURS + 1, len(manifold))  # a point is its own first neighbour
    radii = torch.cat([torch.cdist(some, manifold).kthvalue(nth, dim=1).values for some in manifold.split(CHUNK)])
    near = [(torch.cdist(some, manifold) <= radii).any(dim=1) for some in features.split(CHUNK)]
    return torch.cat(near).double().mean().item()


def nearest_training_distance(samples: Tensor, train: Tensor) -> Tensor:
    """L2 distance in grey levels from each sample to the nearest training image: (B,) float64 on the samples' device.

    samples, train  uint8 (B, C, H, W) and (N, C, H, W). Exact: the distance is 0 if and only if the pixels are equal.
    """
    # float64 is exact for sums of squares below 2^53; float32 is not.
    a = samples.flatten(1).double()
    nearest = torch.full((len(a),), torch.inf, dtype=torch.float64, device=a.device)
    for chunk in train.split(CHUNK):
        b = chunk.to(a.device).flatten(1).double()
        squared = a.square().sum(dim=1)[:, None] - 2 * a @ b.T + b.square().sum(dim=1)[None]  # (B, chunk)
        nearest = torch.minimum(nearest, squared.amin(dim=1))
    return nearest.sqrt()


class PrecomputedFeatures(nn.Module):
    """Returns its input. Replaces the feature network of torchmetrics."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features
