"""Evaluation and figures without a service, as the commands run them."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from jobs.resolve import FieldError
from jobs.schema import GenerateRequest
from model import data
from model.data import Dataset
from model.evaluation.reference import Reference
from worker import offline
from worker.catalog import Model


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return offline.load(tiny, torch.device("cpu"))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def test_evaluation_has_unconditional_and_conditional_metrics(
    model: Model, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.evaluation.classifier.STEPS", 5)
    test = data.load("digits", split="test")
    specs = offline.evaluation_specs(model, GenerateRequest(count=12, seed=3, steps=4, guidance_scale=2.0))
    assert specs["unconditional"].labels == [10] * 12
    assert specs["conditional"].labels == [*range(10), 0, 1]
    moved = []
    metrics = offline.evaluate(
        model, Reference(digits, test, tmp_path), specs, lambda spec: offline.sample(model, spec, moved.append)
    )
    assert sum(moved) == 2 * 12 * 4
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert (metrics["seed"], metrics["steps"], metrics["conditional"]["guidance_scale"]) == (3, 4, 2.0)
    assert metrics["unconditional"]["samples"] == metrics["conditional"]["samples"] == 12
    assert "accuracy" in metrics["conditional"]
    assert metrics["bits_per_dimension"]["bound"] > 2, "an untrained network needs many bits"
    with pytest.raises(FieldError):
        offline.evaluation_specs(model, GenerateRequest(steps=1001))


def test_figures_are_images_of_their_file_type(model: Model, digits: Dataset) -> None:
    drawn = offline.draw(model, digits, steps=3)
    assert len(drawn) == 8
    for name, picture in drawn.items():
        with Image.open(io.BytesIO(picture)) as image:
            assert image.format == Path(name).suffix[1:].upper()


def test_figures_repeat_real_images_where_there_are_few(digits: Dataset) -> None:
    """The classes cycle; a class without images is skipped."""
    labels = torch.tensor([0, 0, 1, 3])
    few = dataclasses.replace(digits, images=digits.images[:4], labels=labels)
    assert offline._cycle_classes(few, 7).tolist() == [0, 2, 3, 1, 2, 3, 0]
    assert offline._cycle_classes(dataclasses.replace(few, labels=None), 7).tolist() == [0, 1, 2, 3, 0, 1, 2]
