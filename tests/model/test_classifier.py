"""The classifier, trained on digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from model import data, images
from model.data import Dataset
from model.evaluation import classifier, metrics
from model.evaluation.classifier import Classifier

SOME = torch.arange(200)


def test_classifier_recognises_held_out_digits(trained: Classifier, split_digits: tuple[Dataset, Dataset]) -> None:
    _, test = split_digits
    probabilities = trained.predict(test.images)[0]
    assert probabilities.shape == (len(test), 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(test)))
    right = sum(int(row.argmax()) == int(label) for row, label in zip(probabilities, test.labels, strict=True))
    assert right >= 0.97 * len(test)


def test_classifier_recognises_noise_less_often_than_digits(trained: Classifier) -> None:
    """A classifier may be confident about inputs unlike its training data, so the bound is loose."""
    noise = torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert metrics.recognised(trained.predict(images.to_uint8(noise))[0]) < 0.8
    grey = torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    assert metrics.recognised(trained.predict(grey)[0], torch.tensor([0])) == 0


def test_predictions_do_not_depend_on_chunk_size(
    trained: Classifier, split_digits: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = split_digits[1].images[:10]
    whole = trained.predict(pixels)
    monkeypatch.setattr(classifier, "CHUNK", 3)
    torch.testing.assert_close(trained.predict(pixels), whole)


def test_weights_are_loaded_from_the_cache(
    trained: Classifier, split_digits: tuple[Dataset, Dataset], classifier_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(classifier, "_train", fail)
    again = classifier.train(split_digits[0], classifier_cache)
    pixels = split_digits[1].images[:50]
    assert torch.equal(again.predict(pixels)[0], trained.predict(pixels)[0])


def test_cache_key_covers_data_source_size_seed_and_version(
    split_digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STEPS", 2)
    train = split_digits[0].select(SOME)
    classifier.train(train, tmp_path)
    classifier.train(train, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    classifier.train(train, tmp_path, seed=1)
    classifier.train(dataclasses.replace(train, images=255 - train.images), tmp_path)
    classifier.train(dataclasses.replace(train, source="other"), tmp_path)
    classifier.train(data.load("digits", size=4), tmp_path)
    monkeypatch.setattr(classifier, "VERSION", 99)
    classifier.train(train, tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 6
    assert all(name.endswith(".safetensors") for name in names)


def test_damaged_weights_are_trained_again(
    split_digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STEPS", 2)
    train = split_digits[0].select(SOME)
    classifier.train(train, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    classifier.train(train, tmp_path)
    assert file.read_bytes() == whole


def test_only_the_seed_determines_the_weights(
    split_digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The global generator has no effect and keeps its state."""
    monkeypatch.setattr(classifier, "STEPS", 5)
    train, pixels = split_digits[0].select(SOME), split_digits[1].images[:50]
    first = classifier.train(train, tmp_path / "a").predict(pixels)[0]
    state = torch.get_rng_state()
    torch.randn(7)
    second = classifier.train(train, tmp_path / "b").predict(pixels)[0]
    assert torch.equal(first, second)
    torch.set_rng_state(state)
    other = classifier.train(train, tmp_path / "c", seed=1).predict(pixels)[0]
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [1, 5, 8, 28, 32, 64, 100, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_network_accepts_every_image_size(size: int, channels: int) -> None:
    network = Classifier(channels, size, classes=4).eval()
    logits, features = network(torch.zeros(2, channels, size, size))
    assert logits.shape == (2, 4)
    assert features.shape[0] == 2
    assert features.shape[1] <= 256, "a Fréchet distance of a thousand samples allows no more"


def test_data_without_classes_or_images_is_refused(split_digits: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    train, _ = split_digits
    for empty in (dataclasses.replace(train, labels=None, classes=()), train.select(SOME[:0])):
        with pytest.raises(ValueError, match="needs images with classes"):
            classifier.train(empty, tmp_path)
