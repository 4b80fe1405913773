"""Real images as the reference for samples: recognition, distances, and copies of training images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from model import images
from model.data import Dataset
from model.evaluation import classifier, metrics

HOLDOUT_SHARE = 0.2  # share of the training images that the classifier is not trained on
MIN_IMAGES = 4  # minimum number of images for a distance between two sets
NEAR_QUANTILE = 0.01  # quantile of the distances from held-out to training images; a nearer sample counts as near
MAX_HELD_OUT = 2000  # test images whose distances to training images are computed

Distance = Callable[[Tensor, Tensor], tuple[float, float]]  # -> distance and standard error


class Reference:
    """The real images of one data set, prepared once and compared with any number of sample sets.

    A classifier is trained on four of five training images. The others are the baseline of every distance
    (`as_many_training_images` in the metrics): real images that, like samples, the classifier was not trained on.

    accuracy  of the classifier on the test images; None for data without classes, which has no classifier
    """

    def __init__(self, train: Dataset, test: Dataset, cache: Path, device: str | torch.device = "cpu") -> None:
        """Trains the classifier if the data has classes, or loads it from the folder `cache`."""
        self.train, self.test = train, test
        self.classifier, self.accuracy = None, None
        if test.labels is not None and len(test):
            holdout, learnt = _shuffled(len(train)).tensor_split([round(HOLDOUT_SHARE * len(train))])
            self.classifier = classifier.train(train.select(learnt), cache, device=device)
            _, self._baseline = self.classifier.predict(train.images[holdout])
            probabilities, self._real = self.classifier.predict(test.images)
            self.accuracy = metrics.accuracy(probabilities, test.labels)
        held_out = test.images[_shuffled(len(test))[:MAX_HELD_OUT]].to(device)
        self._held_out = metrics.nearest_training_distance(held_out, train.images).cpu()

    def compare(self, samples: Tensor, labels: Tensor | None = None) -> dict[str, Any]:
        """The metrics of one set of samples, as plain JSON: every share and distance with its interval.

        samples  float (B, C, H, W) in [-1, 1]; rounded to 8 bits first, as in a PNG
        labels   (B,) int64, the requested classes; None for unconditional samples
        Raises ValueError if there are no samples, or if they are not floats.
        """
        if not samples.is_floating_point() or not len(samples):
            raise ValueError(
                f"samples must be one or more float images in [-1, 1], not {samples.dtype} {samples.shape}"
            )
        pixels = images.to_uint8(samples)
        figures: dict[str, Any] = {"samples": len(samples)}
        if self.classifier is not None:
            probabilities, features = self.classifier.predict(pixels)
            figures |= _share("recognised", metrics.recognised(probabilities, labels), len(samples))
            if labels is not None:
                figures |= _share("accuracy", metrics.accuracy(probabilities, labels), len(samples))
            figures |= self._distances(features)
        distances = metrics.nearest_training_distance(pixels, self.train.images).cpu()
        figures["identical_to_training"] = int((distances == 0).sum())
        figures["nearest_training_distance"] = _summary(distances)
        figures["held_out_nearest_training_distance"] = _summary(self._held_out)
        if len(self._held_out):
            near = (distances < self._held_out.quantile(NEAR_QUANTILE)).double().mean().item()
            figures |= _share("nearer_than_1%_of_held_out", near, len(distances))
            # The quantile itself is estimated from the held-out images: real images give a share within this interval.
            chance = metrics.wilson(NEAR_QUANTILE, len(self._held_out))
            figures["nearer_than_1%_of_held_out_by_chance"] = [round(bound, 4) for bound in chance]
        return figures

    def _distances(self, features: Tensor) -> dict[str, Any]:
        """Distances of samples and of as many training images from the test images, in features (B, F)."""
        count = min(len(features), len(self._baseline))
        if count < MIN_IMAGES:
            return {}
        samples, baseline, real = features[:count], self._baseline[:count], self._real

        def measured(distance: Distance) -> dict[str, Any]:
            beside = {"as_many_training_images": _with_interval(*distance(baseline, real))}
            return {"images": count, **_with_interval(*distance(samples, real)), **beside}

        return {
            "frechet": measured(metrics.frechet),
            "kernel": measured(metrics.kernel),
            **_share("precision", metrics.coverage(samples, real), count),
            **_share("recall", metrics.coverage(real, samples), len(real)),
        }


def _with_interval(distance: float, error: float) -> dict[str, Any]:
    margin = NormalDist().inv_cdf((1 + metrics.INTERVAL) / 2) * error
    low, high = (float(f"{bound:.3g}") for bound in (distance - margin, distance + margin))
    return {"distance": float(f"{distance:.3g}"), "interval": [low, high]}


def _share(name: str, share: float, count: int) -> dict[str, Any]:
    return {name: round(share, 4), f"{name}_interval": [round(bound, 4) for bound in metrics.wilson(share, count)]}


def _summary(distances: Tensor) -> dict[str, Any]:
    if not len(distances):
        return {"images": 0}
    quantiles = {"min": 0.0, "1%": 0.01, "median": 0.5}
    return {"images": len(distances)} | {name: round(distances.quantile(q).item(), 2) for name, q in quantiles.items()}


def _shuffled(count: int) -> Tensor:
    """The indices below `count` in a fixed random order: data may be sorted by class, or cycle through the classes."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))
