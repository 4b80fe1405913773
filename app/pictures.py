"""The grid of a job's images, and the animation of its reverse process."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Iterable, Iterator

from PIL import Image

from jobs.schema import MAX_FRAMES, SHOWN_IMAGES, Frame

GAP = 1  # pixels between images
MAX_GRID_PIXELS = 20_000_000  # 4096 images of 64 x 64 fit; a larger grid is shrunk
MAX_GIF_PIXELS = 1 << 19  # maximum pixels of one frame; 64 images of 64 x 64 are half of that
MAX_GIF_FRAMES = MAX_FRAMES  # Pillow holds all frames until it writes them
MIN_GIF_SIDE = 256  # smaller animations are enlarged by a whole factor
GIF_FRAME_MS = 120
GIF_LAST_FRAME_MS = 1500


class _Sheet:
    """Images in rows and columns, as square as possible."""

    def __init__(self, count: int, size: tuple[int, int], mode: str, max_pixels: int) -> None:
        self.columns = math.ceil(math.sqrt(count))
        self.rows = math.ceil(count / self.columns)
        self._cell = _shrunk(size, self.columns * self.rows, max_pixels)
        width, height = self._cell
        self.image = Image.new(mode, (self.columns * (width + GAP) - GAP, self.rows * (height + GAP) - GAP))

    def paste(self, position: int, image: Image.Image) -> None:
        row, column = divmod(position, self.columns)
        width, height = self._cell
        fitted = image if image.size == self._cell else image.resize(self._cell, Image.Resampling.BOX)
        self.image.paste(fitted, (column * (width + GAP), row * (height + GAP)))


def _shrunk(size: tuple[int, int], cells: int, max_pixels: int) -> tuple[int, int]:
    """The largest cell of the same proportions such that `cells` of them, with gaps, have at most `max_pixels`."""
    width, height = size
    share = min(1.0, math.sqrt(max_pixels / (cells * (width + GAP) * (height + GAP))))
    return max(1, int((width + GAP) * share) - GAP), max(1, int((height + GAP) * share) - GAP)


def grid(pngs: Iterable[bytes], count: int) -> bytes:
    """A job's images on one sheet, as PNG."""
    images = (Image.open(io.BytesIO(png)) for png in pngs)
    first = next(images)
    sheet = _Sheet(count, first.size, first.mode, MAX_GRID_PIXELS)
    sheet.paste(0, first)
    for position, image in enumerate(images, 1):
        sheet.paste(position, image)
    return _png(sheet.image)


def process(frames: Callable[[], Iterator[Frame]], count: int) -> bytes:
    """The reverse process of a job's first images, as GIF.

    frames  reads them from the start; called twice, so that they are never all in memory
    """
    number, largest = _survey(frames())
    stride = math.ceil(number / MAX_GIF_FRAMES)
    shown = [i for i in range(number) if i % stride == 0 or i == number - 1]
    pictures = _pictures(frames(), set(shown), min(count, SHOWN_IMAGES), largest)
    durations = [GIF_FRAME_MS] * (len(shown) - 1) + [GIF_LAST_FRAME_MS]
    buffer = io.BytesIO()
    next(pictures).save(buffer, "GIF", save_all=True, append_images=pictures, duration=durations, loop=0)
    return buffer.getvalue()


def _survey(frames: Iterable[Frame]) -> tuple[int, Image.Image]:
    """The number of frames, and the largest image: noise compresses badly, so early frames may be smaller."""
    number, largest = 0, None
    for frame in frames:
        number += 1
        for image in map(_decode, frame.images):
            if largest is None or image.width > largest.width:
                largest = image
    assert largest is not None
    return number, largest


def _pictures(frames: Iterable[Frame], shown: set[int], count: int, largest: Image.Image) -> Iterator[Image.Image]:
    """The sheet after each frame of `shown`."""
    sheet = _Sheet(count, largest.size, largest.mode, MAX_GIF_PIXELS)
    factor = max(1, MIN_GIF_SIDE // sheet.image.width)
    size = sheet.image.width * factor, sheet.image.height * factor
    for i, frame in enumerate(frames):
        for position, image in enumerate(map(_decode, frame.images), frame.first):
            sheet.paste(position, image.resize(largest.size))
        if i in shown:
            yield sheet.image.resize(size, Image.Resampling.NEAREST)


def _decode(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
