"""How good samples are, judged by real data.

By a classifier that never saw a sample: how many it recognises, and how far samples lie from real images in its
features (Fréchet and kernel distance, precision and recall). By the nearest training image, beside that of real images
held out: whether samples are more than copies. Every figure comes with its sample count, every share and every distance
between sets with an interval too.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from model import images
from model.data import Dataset
from model.evaluation import classifier

CONFIDENCE = 0.9  # that the classifier must have in a class to recognise it
INTERVAL = 0.95  # what every interval means to hold
UNSEEN = 0.2  # share of the training images that the classifier is not shown
FEWEST = 4  # images that a distance is taken of
RESAMPLES = 50  # of the bootstrap
KERNEL_SUBSETS = 50
KERNEL_SUBSET_SIZE = 500
NEIGHBOURS = 3  # of precision and recall
NEAR = 0.01  # quantile of held-out images' distances to training images: what is nearer is near
HELD_OUT = 2000  # images that a sample's distance to training images is put beside, at the most
CHUNK = 1024  # images compared at once


class Reference:
    """Real images, looked at once: what every kind of samples is compared with.

    The classifier learns from four training images in five. The fifth are the real images that stand beside samples:
    features set images that were learnt from apart from all others. `accuracy` is the classifier's on the test images;
    None where the data has no classes, and so no classifier.
    """

    def __init__(self, train: Dataset, test: Dataset, cache: Path, device: str | torch.device = "cpu") -> None:
        """Trains the classifier, where the data has classes, or takes it from the folder `cache`."""
        self.train, self.test = train, test
        self.classifier, self.accuracy = None, None
        if test.labels is not None and len(test):
            unseen, learnt = _shuffled(len(train)).tensor_split([round(UNSEEN * len(train))])
            self.classifier = classifier.train(train.select(learnt), cache, device=device)
            _, self._unseen = self.classifier.look(train.images[unseen])
            probabilities, self._real = self.classifier.look(test.images)
            self.accuracy = accuracy(probabilities, test.labels)
        held_out = test.images[_shuffled(len(test))[:HELD_OUT]].to(device)
        self._held_out = nearest_training_distance(held_out, train.images).cpu()

    def compare(self, samples: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        """Figures of one kind of samples, as plain JSON.

        samples  float (B, C, H, W) in [-1, 1]; judged as their PNGs will show them
        labels   (B,) int64: the classes that they were asked for; None where there was none
        Raises ValueError where samples are missing or no floats.
        """
        if not samples.is_floating_point() or not len(samples):
            raise ValueError(
                f"samples must be one or more float images in [-1, 1], not {samples.dtype} {samples.shape}"
            )
        pixels = images.to_uint8(samples)
        figures: dict[str, Any] = {"samples": len(samples)}
        if self.classifier is not None:
            probabilities, features = self.classifier.look(pixels)
            figures |= _share("recognised", recognised(probabilities, labels), len(samples))
            if labels is not None:
                figures |= _share("accuracy", accuracy(probabilities, labels), len(samples))
            figures |= self._distances(features)
        distances = nearest_training_distance(pixels, self.train.images).cpu()
        figures["identical_to_training"] = int((distances == 0).sum())
        figures["nearest_training_distance"] = _summary(distances)
        figures["held_out_nearest_training_distance"] = _summary(self._held_out)
        if len(self._held_out):
            near = (distances < self._held_out.quantile(NEAR)).double().mean().item()
            figures |= _share("nearer_than_1%_of_held_out", near, len(distances))
            # Of few held-out images that quantile is known only so well: real images might give a share within this.
            chance = wilson(NEAR, len(self._held_out))
            figures["nearer_than_1%_of_held_out_by_chance"] = [round(bound, 4) for bound in chance]
        return figures

    def _distances(self, features: Tensor) -> dict[str, Any]:
        """In features, of samples and of as many training images; few images are further away than many are."""
        count = min(len(features), len(self._unseen))
        if count < FEWEST:
            return {}
        some, alike, real = features[:count], self._unseen[:count], self._real
        return {
            **{
                name: {
                    "images": count,
                    **_distance(*distance(some, real)),
                    "as_many_training_images": _distance(*distance(alike, real)),
                }
                for name, distance in (("frechet", frechet), ("kernel", kernel))
            },
            **_share("precision", covered(some, real), count),
            **_share("recall", covered(real, some), len(real)),
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
    """The kernel distance (Bińkowski et al. 2018), which is unbiased, and a bound on its standard error.

    The bound is the spread over random halves of the images, or smaller subsets: a half, drawn without replacement,
    varies about the whole as the whole does about what it was drawn from (Politis & Romano 1994).
    """
    from torchmetrics.image.kid import KernelInceptionDistance

    size = min(KERNEL_SUBSET_SIZE, len(features) // 2, len(real) // 2)
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


def _distance(distance: float, error: float) -> dict[str, Any]:
    margin = NormalDist().inv_cdf((1 + INTERVAL) / 2) * error
    low, high = (float(f"{bound:.3g}") for bound in (distance - margin, distance + margin))
    return {"distance": float(f"{distance:.3g}"), "interval": [low, high]}


def _share(name: str, share: float, count: int) -> dict[str, Any]:
    return {name: round(share, 4), f"{name}_interval": [round(bound, 4) for bound in wilson(share, count)]}


def _summary(distances: Tensor) -> dict[str, Any]:
    if not len(distances):
        return {"images": 0}
    quantiles = {"min": 0.0, "1%": 0.01, "median": 0.5}
    return {"images": len(distances)} | {name: round(distances.quantile(q).item(), 2) for name, q in quantiles.items()}


def _shuffled(count: int) -> Tensor:
    """The numbers below `count` in a random order, always the same: data may come sorted, or its classes in turn."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))
