"""Fixtures of the model tests: one thread, the real data sets, and results of slow trainings."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from model import data
from model.data import Dataset
from model.evaluation.classifier import Classifier, train
from model.evaluation.reference import Reference
from tests.model.tiny_training import RECIPE, few_digits

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "datasets"
QUICK = 300  # classifier steps: enough for digits, a quarter of the default


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A second thread slows such small networks down."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets beside the repository."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} does not exist")
    return REAL_DATA


@pytest.fixture(scope="session")
def split_digits() -> tuple[Dataset, Dataset]:
    return data.load("digits"), data.load("digits", split="test")


@pytest.fixture(scope="session")
def classifier_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifiers") / "cache"


@pytest.fixture(scope="session")
def trained(split_digits: tuple[Dataset, Dataset], classifier_cache: Path) -> Classifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.evaluation.classifier.STEPS", QUICK)
        return train(split_digits[0], classifier_cache)


@pytest.fixture(scope="session")
def reference(split_digits: tuple[Dataset, Dataset], classifier_cache: Path) -> Reference:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.evaluation.classifier.STEPS", QUICK)
        return Reference(*split_digits, classifier_cache)


@pytest.fixture(scope="module")
def short_samples() -> Iterator[None]:
    """A checkpoint's grid of samples takes two steps; no test compares it between runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.training.train.SAMPLE_STEPS", 2)
        yield


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return few_digits()


@pytest.fixture(scope="module")
def whole_run(short_samples: None, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of RECIPE that nothing interrupted."""
    from model.training.train import Trainer

    run = tmp_path_factory.mktemp("runs") / "whole"
    torch.set_num_threads(1)
    list(Trainer(RECIPE, digits, run, device="cpu").train())
    return run
