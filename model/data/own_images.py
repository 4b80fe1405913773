"""The user's own images: a folder or a ZIP, flat or with one subfolder per class."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import torch
from PIL import ExifTags, Image, ImageOps
from torch import Tensor

from model import images
from model.data.dataset import DataError, Dataset, Split

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
GREY = ("1", "L", "LA")  # Pillow's modes
HELD_OUT = 10  # every tenth image is the test split
MEMORY_SHARE = 0.5  # maximum share of physical memory for the images
# EXIF 2.3, section 4.6.4: orientation -> the operation that turns the stored image upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True, slots=True)
class File:
    """An image's path in the folder or archive, and a function that reads its bytes."""

    path: PurePosixPath
    read: Callable[[], bytes]


def load(path: Path, split: Split, size: int | None) -> Dataset:
    """Loads every image in `path`: grey if all are grey, else RGB. Unreadable files are listed in `skipped`.

    size  crops to the centre square and resizes; without it all images must be square and of one size
    Raises DataError if no image can be read, if sizes differ, or if images are beside class folders.
    """
    with ExitStack() as stack:
        files = sorted(_files(path, stack), key=lambda file: file.path)
        if not files:
            raise DataError(f"no images in {path}: put {', '.join(sorted(SUFFIXES))} files there")
        names = _class_names(path, [file.path for file in files])
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            headers = list(threads.map(_header, files))
            readable = [header for header in headers if header is not None]
            channels = 1 if all(mode in GREY + images.GREY_16_BIT for mode, _ in readable) else 3
            side = size or _common_side(path, {dimensions for _, dimensions in readable})
            pixels = _allocate(path, len(files), channels, side)

            def decode(position: int) -> bool:
                return headers[position] is not None and _decode(files[position], pixels[position])

            read = torch.tensor(list(threads.map(decode, range(len(files)))))
    skipped = tuple(str(file.path) for file, ok in zip(files, read.tolist(), strict=True) if not ok)
    if not read.any():
        raise DataError(f"none of the {len(files)} images in {path} can be read, for example {skipped[0]}")
    held_out = torch.arange(int(read.sum())) % HELD_OUT == HELD_OUT - 1
    classes = tuple(sorted(set(names) - {""}))
    labels = torch.tensor([classes.index(name) for name in names])[read] if classes else None
    both_splits = Dataset(path.stem if path.is_file() else path.name, pixels[read], labels, classes, skipped)
    return both_splits.select(held_out if split == "test" else ~held_out)


def _files(path: Path, stack: ExitStack) -> Iterator[File]:
    """The images of a folder or an archive, by suffix. Hidden files are ignored."""
    if path.is_dir():
        for file in path.rglob("*"):
            path_inside = PurePosixPath(file.relative_to(path).as_posix())
            if _is_image(path_inside) and file.is_file():
                yield File(path_inside, file.read_bytes)
        return
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is neither a folder nor a readable ZIP: {error}") from error
    for entry in archive.infolist():
        path_inside = PurePosixPath(entry.filename)
        if _is_image(path_inside) and not entry.is_dir():
            yield File(path_inside, partial(archive.read, entry))


def _is_image(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _class_names(path: Path, files: list[PurePosixPath]) -> list[str]:
    """The class of each image, "" without classes. A top-level folder that contains all images is not a class."""
    parts = [file.parts for file in files]
    while all(len(each) > 1 and each[0] == parts[0][0] for each in parts):
        parts = [each[1:] for each in parts]
    names = [each[0] if len(each) > 1 else "" for each in parts]
    if "" in names and len(set(names)) > 1:
        raise DataError(f"{path} contains images beside class folders: use one or the other")
    return names


def _header(file: File) -> tuple[str, tuple[int, int]] | None:
    """Mode and size, without decoding the pixels; None if they cannot be read."""
    try:
        with Image.open(io.BytesIO(file.read())) as image:
            return image.mode, image.size
    except Exception:  # Pillow and zipfile raise many types on damaged files, TypeError and RuntimeError among them
        return None


def _common_side(path: Path, sizes: set[tuple[int, int]]) -> int:
    if len(sizes) != 1 or len(set(*sizes)) != 1:
        raise DataError(
            f"the images in {path} are not all square and of one size: give the training size, for example --size 32"
        )
    ((side, _),) = sizes
    return side


def _allocate(path: Path, count: int, channels: int, side: int) -> Tensor:
    needed = count * channels * side * side
    if needed > MEMORY_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise DataError(
            f"{count} images of {path} take {needed / 2**30:.1f} GiB at {side} × {side}: give a smaller size"
        )
    return torch.zeros(count, channels, side, side, dtype=torch.uint8)


def _decode(file: File, pixels: Tensor) -> bool:
    """Reads an image into `pixels` (C, H, W). Returns False if it cannot be read."""
    channels, side, _ = pixels.shape
    try:
        with Image.open(io.BytesIO(file.read())) as stored:
            stored.load()
            image = _upright(stored)
    except Exception:  # as in _header
        return False
    # Converted before it is resized: Pillow resizes palettes and black-and-white by the nearest pixel.
    converted = images.converted(image, channels)
    pixels.copy_(images.from_pil(ImageOps.fit(converted, (side, side)), channels))
    return True


def _upright(image: Image.Image) -> Image.Image:
    """The image turned by its EXIF orientation; unchanged if EXIF is absent or malformed.

    ImageOps.exif_transpose would also rewrite the EXIF, and raise on malformed entries.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow raises SyntaxError for a malformed header, and many other types
        return image
    return image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
