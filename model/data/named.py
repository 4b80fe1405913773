"""Named data sets: scikit-learn's digits, and MNIST, Fashion-MNIST and CIFAR-10 through torchvision."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from model.data.dataset import DataError, Dataset, Split

DIGITS_HELD_OUT = 360  # images of the test split, drawn at random: scikit-learn ships no split


def digits(root: Path | None, split: Split) -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8×8 grey. They are part of the package: `root` is unused."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.from_numpy(bunch.images / 16 * 255).round().to(torch.uint8)[:, None]
    names = tuple(str(name) for name in bunch.target_names)
    both_splits = Dataset("digits", pixels, torch.from_numpy(bunch.target).long(), names)
    # Random, because the digits are stored in cyclic order: a stride would hold out some classes entirely.
    order = torch.randperm(len(both_splits), generator=torch.Generator().manual_seed(0))
    held_out, learnt = order.tensor_split([DIGITS_HELD_OUT])
    return both_splits.select((held_out if split == "test" else learnt).sort().values)


def mnist(root: Path | None, split: Split) -> Dataset:
    from torchvision.datasets import MNIST

    return _idx("mnist", MNIST, root, split)


def fashion_mnist(root: Path | None, split: Split) -> Dataset:
    from torchvision.datasets import FashionMNIST

    return _idx("fashion-mnist", FashionMNIST, root, split)


def cifar10(root: Path | None, split: Split) -> Dataset:
    from torchvision.datasets import CIFAR10

    where = root or Path("data")
    try:
        data = CIFAR10(str(where), train=split == "train", download=root is None)
    except (RuntimeError, OSError) as error:
        raise DataError(
            f"CIFAR-10 is not in {where}: put the folder cifar-10-batches-py (from cifar-10-python.tar.gz) "
            f"there, or omit --data-root to download it ({error})"
        ) from error
    pixels = torch.from_numpy(data.data).permute(0, 3, 1, 2).contiguous()
    return Dataset("cifar10", pixels, torch.tensor(data.targets), tuple(data.classes))


SOURCES: dict[str, Callable[[Path | None, Split], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


def _idx(source: str, kind: type, root: Path | None, split: Split) -> Dataset:
    """torchvision's MNIST family. The files under `root` may be compressed (.gz); `root` may be read-only."""
    name = kind.__name__
    if root is None:
        try:
            return _from_torchvision(source, kind("data", train=split == "train", download=True))
        except (RuntimeError, OSError) as error:
            raise DataError(
                f"{name} could not be downloaded ({error}): set --data-root to a folder that contains {name}/raw"
            ) from error
    raw = root / name / "raw"
    stems = [f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
    with tempfile.TemporaryDirectory() as unpacked:
        into = Path(unpacked) / name / "raw"
        into.mkdir(parents=True)
        for stem in stems:
            if (raw / stem).exists():
                (into / stem).symlink_to((raw / stem).resolve())
            elif (raw / f"{stem}.gz").exists():
                (into / stem).write_bytes(gzip.decompress((raw / f"{stem}.gz").read_bytes()))
            else:
                raise DataError(
                    f"{raw / stem} is missing: put {', '.join(stems)} (or their .gz) into {raw}, "
                    "or omit --data-root to download them"
                )
        return _from_torchvision(source, kind(unpacked, train=split == "train", download=False))


def _from_torchvision(source: str, data: object) -> Dataset:
    classes = tuple(name.split(" - ")[0] for name in data.classes)  # type: ignore[attr-defined]  # "0 - zero" -> "0"
    return Dataset(source, data.data[:, None], data.targets.long(), classes)  # type: ignore[attr-defined]
