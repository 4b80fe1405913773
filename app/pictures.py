"""Pictures made from a job's results: the grid of its images and the animation of its reverse process."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence

from PIL import Image

from jobs.schema import SHOWN_IMAGES, Frame

GAP = 1  # pixels between images
GIF_SIDE = 256  # about as wide as an animation should be; small pictures are enlarged by a whole factor
GIF_FRAME_MS = 120
GIF_LAST_FRAME_MS = 1500


def grid(pngs: Sequence[bytes]) -> bytes:
    """A job's images on one sheet, as square as can be, as PNG."""
    return _png(_sheet([Image.open(io.BytesIO(png)) for png in pngs]))


def process(frames: Sequence[Frame], count: int) -> bytes:
    """The reverse process of a job's first images as GIF: one picture a frame, each wave in its place."""
    shown: dict[int, Image.Image] = {}
    pictures = [[_decode(image) for image in frame.images] for frame in frames]
    # Noise compresses badly, so early frames of a large picture may be smaller than late ones.
    largest = max((picture for wave in pictures for picture in wave), key=lambda picture: picture.width)
    blank = Image.new(largest.mode, largest.size)
    sheets = []
    for frame, wave in zip(frames, pictures, strict=True):
        shown |= {frame.first + i: picture.resize(largest.size) for i, picture in enumerate(wave)}
        sheets.append(_sheet([shown.get(i, blank) for i in range(min(count, SHOWN_IMAGES))]))
    factor = max(1, GIF_SIDE // sheets[0].width)
    large = [sheet.resize((sheet.width * factor, sheet.height * factor), Image.Resampling.NEAREST) for sheet in sheets]
    durations = [GIF_FRAME_MS] * (len(large) - 1) + [GIF_LAST_FRAME_MS]
    buffer = io.BytesIO()
    large[0].save(buffer, "GIF", save_all=True, append_images=large[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _sheet(images: Sequence[Image.Image]) -> Image.Image:
    width, height = images[0].size
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    sheet = Image.new(images[0].mode, (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP))
    for i, image in enumerate(images):
        sheet.paste(image, ((i % columns) * (width + GAP), (i // columns) * (height + GAP)))
    return sheet


def _decode(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
