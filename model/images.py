"""Conversion between image files, uint8 pixels and float tensors in [-1, 1]."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

GREY_16_BIT = ("I", "I;16", "I;16B", "I;16L")


def from_uint8(pixels: Tensor) -> Tensor:
    """uint8 (…) 0 … 255 -> float32 (…) in [-1, 1]."""
    return pixels.float() / 127.5 - 1


def to_uint8(images: Tensor) -> Tensor:
    """Float (…) in [-1, 1] -> uint8 (…); values outside are clipped."""
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_pil(pixels: Tensor) -> Image.Image:
    """uint8 (C, H, W), grey or RGB -> a Pillow image of mode L or RGB."""
    array = pixels.permute(1, 2, 0).squeeze(2).contiguous().numpy()
    return Image.fromarray(array)


def converted(image: Image.Image, channels: int) -> Image.Image:
    """A Pillow image of any mode as 8-bit grey or RGB. Transparency is ignored: a pixel keeps its colour."""
    if image.mode in GREY_16_BIT:  # Pillow would clip values at 255 instead of scaling them
        image = image.point(lambda value: value * (1 / 257) + 0.5).convert("L")
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # Pillow warns about a direct conversion
    return image.convert("L" if channels == 1 else "RGB")


def from_pil(image: Image.Image, channels: int) -> Tensor:
    """A Pillow image -> uint8 (channels, H, W)."""
    flat = torch.frombuffer(bytearray(converted(image, channels).tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, channels).permute(2, 0, 1)


def read(data: bytes, channels: int) -> Tensor:
    """An image file -> float (channels, H, W) in [-1, 1]. Raises OSError if it cannot be read."""
    with Image.open(io.BytesIO(data)) as image:
        return from_uint8(from_pil(image, channels))


def grid(pixels: Tensor, gap: int = 1) -> Tensor:
    """uint8 (B, C, H, W) -> one grid (C, H', W'), as square as possible, separated by black lines of `gap` pixels."""
    count, channels, height, width = pixels.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    canvas = torch.zeros(channels, rows * (height + gap) - gap, columns * (width + gap) - gap, dtype=torch.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def png(pixels: Tensor, recipe: Mapping[str, object] | None = None) -> bytes:
    """uint8 (C, H, W) as PNG bytes. `recipe`, the fields that reproduce the image, is written as two text chunks.

    `parameters` is one line that other tools read (the convention of A1111's web UI); `noisemill` is JSON.
    """
    info = PngInfo()
    if recipe is not None:
        line = ", ".join(f"{key.replace('_', ' ').capitalize()}: {value}" for key, value in recipe.items())
        info.add_text("parameters", line)
        info.add_text("noisemill", json.dumps(recipe, sort_keys=True))
    buffer = io.BytesIO()
    # Level 1 makes files a few per cent larger and is several times faster. It determines the bytes: do not change it.
    to_pil(pixels).save(buffer, "PNG", pnginfo=info, compress_level=1)
    return buffer.getvalue()
