"""Named data sets: scikit-learn's digits, synthetic IDX files, and the real data sets."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor

from model import data
from model.data import DataError, Split


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def idx(values: Tensor) -> bytes:
    """LeCun's IDX format: two zeros, 8 for unsigned bytes, the number of dimensions, their sizes, the values."""
    return struct.pack(f">BBBB{values.dim()}I", 0, 0, 8, values.dim(), *values.shape) + values.numpy().tobytes()


def write_idx(root: Path, name: str, packed: bool) -> dict[Split, tuple[Tensor, Tensor]]:
    """Writes a root of the MNIST family with random images, and returns them with their labels."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    made: dict[Split, tuple[Tensor, Tensor]] = {}
    for split, stem, count in (("train", "train", 7), ("test", "t10k", 3)):
        pixels, labels = noise(count, 28, 28, seed=count), torch.arange(count, dtype=torch.uint8)
        for kind, values in (("images-idx3", pixels), ("labels-idx1", labels)):
            file = raw / f"{stem}-{kind}-ubyte"
            if packed:
                file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(idx(values)))
            else:
                file.write_bytes(idx(values))
        made[split] = pixels[:, None], labels.long()
    return made


def test_digits_splits_together_equal_scikit_learns_data() -> None:
    train, test = data.load("digits"), data.load("digits", split="test")
    bunch = load_digits()
    assert len(train) + len(test) == len(bunch.images) == 1797
    assert train.images.shape[1:] == (1, 8, 8)
    assert train.classes == tuple("0123456789")
    # scikit-learn's pixels are 0 … 16, ours 0 … 255.
    ours = torch.cat([train.images, test.images])[:, 0].double() * 16 / 255
    rows = [*zip(ours.round().int().flatten(1).tolist(), torch.cat([train.labels, test.labels]).tolist(), strict=True)]
    theirs = [*zip(bunch.images.reshape(1797, 64).astype(int).tolist(), bunch.target.tolist(), strict=True)]
    assert sorted(rows) == sorted(theirs)
    assert (ours - ours.round()).abs().max() < 0.04  # half a step of 255, in sixteenths


def test_both_digits_splits_contain_every_class() -> None:
    for split in ("train", "test"):
        labels = data.load("digits", split=split).labels
        assert labels is not None
        assert torch.bincount(labels, minlength=10).min() > 20


def test_digits_ignore_root(tmp_path: Path) -> None:
    assert torch.equal(data.load("digits", root=tmp_path / "absent").images, data.load("digits").images)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "unpacked"])
@pytest.mark.parametrize(("source", "name"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
@pytest.mark.parametrize("split", ["train", "test"])
def test_idx_files_compressed_or_not_are_read(
    source: str, name: str, packed: bool, split: Split, tmp_path: Path
) -> None:
    pixels, labels = write_idx(tmp_path, name, packed)[split]
    before = sorted(tmp_path.rglob("*"))
    dataset = data.load(source, root=tmp_path, split=split)
    assert torch.equal(dataset.images, pixels)
    assert dataset.labels is not None
    assert torch.equal(dataset.labels, labels)
    assert dataset.labels.dtype == torch.int64
    assert len(dataset.classes) == 10
    assert sorted(tmp_path.rglob("*")) == before  # decompressed elsewhere: the root may be read-only


def test_mnist_classes_are_digits(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST", packed=True)
    assert data.load("mnist", root=tmp_path).classes == tuple("0123456789")


@pytest.mark.parametrize(("source", "name"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")])
def test_root_without_files_names_them(source: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        data.load(source, root=tmp_path)
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            assert f"{part}-{kind}-ubyte" in str(caught.value)
    assert str(tmp_path / name / "raw") in str(caught.value)


def test_missing_idx_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, "MNIST", packed=True)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte is missing"):
        data.load("mnist", root=tmp_path)


def test_root_without_cifar10_names_its_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar-10-batches-py") as caught:
        data.load("cifar10", root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_failed_download_suggests_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torchvision.datasets.MNIST.download", unreachable)
    with pytest.raises(DataError, match="--data-root"):
        data.load("mnist")


def test_real_mnist_has_published_counts_mean_and_deviation(real_data: Path) -> None:
    """LeCun's counts of each digit, and the usual normalisation constants."""
    train, test = data.load("mnist", root=real_data), data.load("mnist", root=real_data, split="test")
    assert torch.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(test.labels).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    pixels = train.images.double() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3081, abs=1e-4)
    assert train.images.shape == (60_000, 1, 28, 28)


def test_real_fashion_mnist_has_published_counts_and_mean(real_data: Path) -> None:
    test = data.load("fashion-mnist", root=real_data, split="test")
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    assert test.classes[0] == "T-shirt/top"
    assert (test.images.double() / 255).mean().item() == pytest.approx(0.2860, abs=0.002)


def test_size_resizes_like_pillow() -> None:
    dataset = data.load("digits", size=16)
    assert dataset.images.shape[1:] == (1, 16, 16)
    assert dataset.images.dtype == torch.uint8
    small = data.load("digits")
    for one, ours in zip(small.images[:20], dataset.images[:20], strict=True):
        theirs = Image.fromarray(one[0].numpy()).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(theirs, dtype=int) - ours[0].int().numpy()).max() <= 1  # rounding differs
    assert dataset.labels is not None
    assert torch.equal(dataset.labels, small.labels)
    assert torch.equal(data.load("digits", size=8).images, data.load("digits").images)


def test_unknown_source_lists_the_known_ones() -> None:
    with pytest.raises(DataError, match=r"'ciphers'.*'digits'.*'mnist'"):
        data.load("ciphers")
