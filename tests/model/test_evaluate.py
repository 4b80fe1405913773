"""The evaluation: a real classifier of digits, and figures whose answers are known exactly."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from torch import Tensor

from model import data, evaluate, images
from model.data import Dataset
from model.evaluate import Classifier

QUICK = 300  # steps: enough for digits, and a quarter of what larger pictures need


@pytest.fixture(scope="module")
def digits() -> tuple[Dataset, Dataset]:
    return data.load("digits"), data.load("digits", split="test")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classifiers") / "cache"


@pytest.fixture(scope="module")
def classifier(digits: tuple[Dataset, Dataset], cache: Path) -> Classifier:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "STEPS", QUICK)
        return evaluate.classifier(*digits, cache)


def part(dataset: Dataset, count: int) -> Dataset:
    assert dataset.labels is not None
    return dataclasses.replace(dataset, images=dataset.images[:count], labels=dataset.labels[:count])


def pixels(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_the_classifier_knows_digits_it_never_saw(classifier: Classifier, digits: tuple[Dataset, Dataset]) -> None:
    _, test = digits
    assert classifier.accuracy >= 0.97
    probabilities = classifier.probabilities(images.from_uint8(test.images))
    assert probabilities.shape == (len(test), 10)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(len(test)))
    right = sum(int(row.argmax()) == int(label) for row, label in zip(probabilities, test.labels, strict=True))
    assert classifier.accuracy == pytest.approx(right / len(test))


def test_the_classifier_does_not_recognise_noise(classifier: Classifier) -> None:
    """Less of it than of digits, that is: no classifier refuses all that it was never shown."""
    noise = torch.randn(500, 1, 8, 8, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    assert evaluate.recognised(classifier.probabilities(noise)) < 0.8
    grey = torch.zeros(1, 1, 8, 8)
    assert evaluate.recognised(classifier.probabilities(grey), torch.tensor([0])) == 0


def test_chunks_change_nothing(
    classifier: Classifier, digits: tuple[Dataset, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images.from_uint8(digits[1].images[:10])
    whole = classifier.probabilities(x)
    monkeypatch.setattr(evaluate, "CHUNK", 3)
    torch.testing.assert_close(classifier.probabilities(x), whole)


def test_the_weights_are_kept_and_used_again(
    classifier: Classifier, digits: tuple[Dataset, Dataset], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_again(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(evaluate, "_train", not_again)
    again = evaluate.classifier(*digits, cache)
    assert again.accuracy == classifier.accuracy
    x = images.from_uint8(digits[1].images[:50])
    assert torch.equal(again.probabilities(x), classifier.probabilities(x))


def test_the_cache_is_keyed_by_what_shapes_the_classifier(
    digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "STEPS", 2)
    train, test = part(digits[0], 200), part(digits[1], 50)
    resized = [data.load("digits", split=split, size=4) for split in ("train", "test")]
    evaluate.classifier(train, test, tmp_path)
    evaluate.classifier(train, test, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    evaluate.classifier(train, test, tmp_path, seed=1)
    evaluate.classifier(dataclasses.replace(train, images=255 - train.images), test, tmp_path)
    evaluate.classifier(dataclasses.replace(train, source="other"), test, tmp_path)
    evaluate.classifier(*resized, tmp_path)
    monkeypatch.setattr(evaluate, "CLASSIFIER_VERSION", 99)
    evaluate.classifier(train, test, tmp_path)
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 6
    assert all(name.endswith(".safetensors") for name in names)


def test_damaged_weights_are_trained_anew(
    digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "STEPS", 2)
    train, test = part(digits[0], 200), part(digits[1], 50)
    evaluate.classifier(train, test, tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    evaluate.classifier(train, test, tmp_path)
    assert file.read_bytes() == whole


def test_the_seed_is_all_that_decides(
    digits: tuple[Dataset, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of what the global generator was used for, which is left as it was."""
    monkeypatch.setattr(evaluate, "STEPS", 5)
    train, test = part(digits[0], 200), part(digits[1], 50)
    x = images.from_uint8(test.images)
    first = evaluate.classifier(train, test, tmp_path / "a").probabilities(x)
    state = torch.get_rng_state()
    torch.randn(7)
    second = evaluate.classifier(train, test, tmp_path / "b").probabilities(x)
    assert torch.equal(first, second)
    torch.set_rng_state(state)
    other = evaluate.classifier(train, test, tmp_path / "c", seed=1).probabilities(x)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("size", [1, 5, 8, 28, 32, 64, 100, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_has_a_network(size: int, channels: int) -> None:
    network = evaluate.ConvNet(channels, size, classes=4).eval()
    assert network(torch.zeros(2, channels, size, size)).shape == (2, 4)


def test_data_without_classes_has_no_classifier(digits: tuple[Dataset, Dataset], tmp_path: Path) -> None:
    train, test = digits
    unlabelled = dataclasses.replace(train, labels=None, classes=())
    with pytest.raises(ValueError, match="needs images with classes"):
        evaluate.classifier(unlabelled, test, tmp_path)
    with pytest.raises(ValueError, match="needs images with classes"):
        evaluate.classifier(train, part(test, 0), tmp_path)


def test_recognised() -> None:
    probabilities = torch.tensor([[0.95, 0.05], [0.05, 0.95], [0.6, 0.4], [0.1, 0.9]])
    assert evaluate.recognised(probabilities) == 0.75  # all but the third; nine tenths is enough
    assert evaluate.recognised(probabilities, torch.tensor([0, 0, 0, 1])) == 0.5
    assert evaluate.recognised(probabilities, torch.tensor([0, 0, 0, 1]), confidence=0.5) == 0.75
    assert evaluate.accuracy(probabilities, torch.tensor([0, 0, 0, 1])) == 0.75


@given(st.data())
def test_wilson_is_scipys(draws: st.DataObject) -> None:
    count = draws.draw(st.integers(1, 10_000))
    hits = draws.draw(st.integers(0, count))
    expected = binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert evaluate.wilson(hits / count, count) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_by_hand() -> None:
    """At a share of 0 it is [0, z² / (n + z²)]; at 1, its mirror image."""
    z2 = 1.959963984540054**2
    assert evaluate.wilson(0.0, 10) == pytest.approx((0.0, z2 / (10 + z2)))
    assert evaluate.wilson(1.0, 10) == pytest.approx((10 / (10 + z2), 1.0))


def test_distances_by_hand() -> None:
    train = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    train[1], train[2] = 10, 255
    samples = torch.zeros(4, 1, 2, 2, dtype=torch.uint8)
    samples[1, 0, 0, 0], samples[2], samples[3, 0, 0] = 3, 255, 9
    # Equal; one pixel off by 3; equal to another; two pixels off by 1 and two by 10 or, nearer still, two by 9.
    distances = evaluate.nearest_training_distance(samples, train)
    torch.testing.assert_close(distances, torch.tensor([0.0, 3.0, 0.0, 162**0.5], dtype=torch.float64))


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_distances_are_those_written_out(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "CHUNK", chunk)
    samples, train = pixels(5, 3, 4, 4), pixels(23, 3, 4, 4, seed=1)
    expected = [min((a.double() - b.double()).norm().item() for b in train) for a in samples]
    ours = evaluate.nearest_training_distance(samples, train)
    torch.testing.assert_close(ours, torch.tensor(expected, dtype=torch.float64))


def test_a_distance_of_0_means_the_same_pixels() -> None:
    """Exactly: the smallest difference there is, in the brightest large picture, is a distance of 1."""
    train = torch.full((2, 3, 64, 64), 255, dtype=torch.uint8)
    nearly = train[:1].clone()
    nearly[0, 0, 0, 0] = 254
    assert evaluate.nearest_training_distance(train[:1], train).tolist() == [0.0]
    assert evaluate.nearest_training_distance(nearly, train).tolist() == [1.0]


def test_real_images_are_judged_as_real(classifier: Classifier, digits: tuple[Dataset, Dataset]) -> None:
    """Held-out digits in the place of samples: recognised, no copies, as near to the training images as themselves."""
    train, test = digits
    x = images.from_uint8(test.images)
    figures = evaluate.evaluate(x, x, test.labels, train, test, classifier)
    assert figures["classifier"] == {"accuracy": round(classifier.accuracy, 4), "test_images": 359}
    conditional = figures["conditional"]
    assert conditional["samples"] == 359
    assert conditional["recognised"] > 0.9
    assert conditional["accuracy"] == round(classifier.accuracy, 4)
    low, high = conditional["accuracy_interval"]
    assert low < conditional["accuracy"] < high
    assert figures["unconditional"]["recognised"] >= conditional["recognised"]
    for kind in ("unconditional", "conditional"):
        distances = figures[kind]["nearest_training_distance"]
        assert distances == figures[kind]["held_out_nearest_training_distance"]
        assert 0 < distances["min"] < distances["median"]
        assert figures[kind]["identical_to_training"] == 0


def test_copies_are_counted(classifier: Classifier, digits: tuple[Dataset, Dataset]) -> None:
    train, test = digits
    samples = torch.cat([train.images[:3], test.images[:4]])
    figures = evaluate.evaluate(images.from_uint8(samples), None, None, train, test, classifier)["unconditional"]
    assert figures["identical_to_training"] == 3
    assert figures["nearest_training_distance"]["min"] == 0
    assert figures["held_out_nearest_training_distance"]["images"] == 7


def test_samples_are_judged_as_their_pngs_show_them(classifier: Classifier, digits: tuple[Dataset, Dataset]) -> None:
    """What rounding to pixels takes away does not hide a copy."""
    train, test = digits
    off = images.from_uint8(train.images[:5]) + 0.003
    figures = evaluate.evaluate(off, None, None, train, test, classifier)["unconditional"]
    assert figures["identical_to_training"] == 5


def test_a_wrong_label_is_not_recognised(classifier: Classifier, digits: tuple[Dataset, Dataset]) -> None:
    train, test = digits
    assert test.labels is not None
    x, wrong = images.from_uint8(test.images), (test.labels + 1) % 10
    figures = evaluate.evaluate(None, x, wrong, train, test, classifier)["conditional"]
    assert figures["recognised"] < 0.03
    assert figures["accuracy"] < 0.03


def test_figures_are_plain_json(classifier: Classifier, digits: tuple[Dataset, Dataset]) -> None:
    train, test = digits
    x, labels = torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])
    figures = evaluate.evaluate(x, x, labels, train, test, classifier)
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert set(figures) == {"classifier", "unconditional", "conditional"}
    assert set(figures["conditional"]) - set(figures["unconditional"]) == {"accuracy", "accuracy_interval"}


def test_without_classes_distances_are_all(digits: tuple[Dataset, Dataset]) -> None:
    train, test = (dataclasses.replace(split, labels=None, classes=()) for split in digits)
    figures = evaluate.evaluate(torch.zeros(2, 1, 8, 8), None, None, train, test, None)
    assert set(figures) == {"unconditional"}
    assert "recognised" not in figures["unconditional"]
    assert figures["unconditional"]["identical_to_training"] == 0


def test_without_held_out_images_there_is_nothing_beside(digits: tuple[Dataset, Dataset]) -> None:
    """As of a folder of fewer than ten images."""
    train, test = digits
    figures = evaluate.evaluate(torch.zeros(2, 1, 8, 8), None, None, train, part(test, 0), None)
    assert figures["unconditional"]["held_out_nearest_training_distance"] == {"images": 0}


def test_what_cannot_be_evaluated_is_said(digits: tuple[Dataset, Dataset]) -> None:
    train, test = digits
    x = torch.zeros(2, 1, 8, 8)
    with pytest.raises(ValueError, match="no samples"):
        evaluate.evaluate(None, None, None, train, test, None)
    with pytest.raises(ValueError, match="labels"):
        evaluate.evaluate(None, x, None, train, test, None)
    with pytest.raises(ValueError, match="labels"):
        evaluate.evaluate(x, None, torch.tensor([0, 1]), train, test, None)
    with pytest.raises(ValueError, match="uint8"):
        evaluate.evaluate(x.to(torch.uint8), None, None, train, test, None)
    with pytest.raises(ValueError, match="one or more"):
        evaluate.evaluate(x[:0], None, None, train, test, None)
