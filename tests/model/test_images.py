"""Conversion of pixels, floats, PNGs and grids; PNGs are read back by Pillow."""

from __future__ import annotations

import io
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from model import images

RECIPE = {"seed": 2**53 - 1, "index": 3, "sampler": "ddpm", "guidance_scale": 1.5, "label": "café ☕"}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def test_uint8_to_float_and_back_is_the_identity() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(images.to_uint8(images.from_uint8(pixels)), pixels)


def test_floats_range_from_minus_one_to_one() -> None:
    ends = images.from_uint8(torch.tensor([0, 255], dtype=torch.uint8))
    assert ends.tolist() == [-1.0, 1.0]
    assert ends.dtype == torch.float32


@given(st.floats(-3, 3, width=32))
def test_to_uint8_rounds_to_the_nearest_value_and_clips(value: float) -> None:
    pixel = images.to_uint8(torch.tensor([value])).item()
    nearest = min(range(256), key=lambda p: abs(p / 127.5 - 1 - value))
    assert abs(pixel / 127.5 - 1 - value) <= abs(nearest / 127.5 - 1 - value) + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_to_uint8_takes_every_float_dtype(dtype: torch.dtype) -> None:
    assert images.to_uint8(torch.tensor([-1, 1], dtype=dtype)).tolist() == [0, 255]


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_png_holds_the_same_pixels(channels: int, mode: str) -> None:
    pixels = noise(channels, 5, 7)  # not square, so that swapped axes are found
    image = decoded(images.png(pixels))
    assert image.format == "PNG"
    assert image.mode == mode
    assert image.size == (7, 5)
    for y in range(5):
        for x in range(7):
            value = image.getpixel((x, y))
            assert value == (pixels[0, y, x].item() if channels == 1 else tuple(pixels[:, y, x].tolist()))
    assert torch.equal(images.from_pil(image, channels), pixels)


def test_png_bytes_are_deterministic() -> None:
    pixels = noise(3, 32, 32)
    assert images.png(pixels, RECIPE) == images.png(pixels.clone(), dict(RECIPE))
    strided = pixels.permute(1, 2, 0).contiguous().permute(2, 0, 1)  # channels last in memory
    assert images.png(strided, RECIPE) == images.png(pixels, RECIPE)


def test_png_holds_its_recipe_as_text_chunks() -> None:
    image = decoded(images.png(noise(1, 8, 8), RECIPE))
    assert json.loads(image.text["noisemill"]) == RECIPE
    line = "Seed: 9007199254740991, Index: 3, Sampler: ddpm, Guidance scale: 1.5, Label: café ☕"
    assert image.text["parameters"] == line


def test_png_without_a_recipe_has_no_text_chunk() -> None:
    assert not decoded(images.png(noise(1, 8, 8))).text


def test_to_pil_and_from_pil_are_inverse() -> None:
    for channels in (1, 3):
        pixels = noise(channels, 4, 6)
        assert torch.equal(images.from_pil(images.to_pil(pixels), channels), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_to_8_bit(channels: int) -> None:
    values = torch.tensor([[0, 128 * 257, 65535]], dtype=torch.int32)
    buffer = io.BytesIO()
    Image.fromarray(values.numpy().astype("uint16")).save(buffer, "PNG")
    assert Image.open(buffer).mode == "I;16"
    expected = images.from_uint8(torch.tensor([0, 128, 255], dtype=torch.uint8)).expand(channels, 1, 3)
    assert torch.equal(images.read(buffer.getvalue(), channels), expected)


def test_grey_converts_to_rgb_and_back() -> None:
    grey = noise(1, 4, 4)
    assert torch.equal(images.from_pil(images.to_pil(grey), 3), grey.expand(3, 4, 4))
    assert torch.equal(images.from_pil(images.to_pil(grey.expand(3, 4, 4)), 1), grey)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 2, 2), (5, 3, 2), (9, 3, 3), (10, 4, 3)])
@pytest.mark.parametrize("channels", [1, 3])
def test_grid_is_make_grid_of_torchvision(count: int, columns: int, rows: int, channels: int) -> None:
    """torchvision adds a frame around the grid, and makes grey images RGB; this grid does neither."""
    pixels = noise(count, channels, 5, 7)
    sheet = images.grid(pixels, gap=2)
    assert sheet.shape == (channels, rows * 7 - 2, columns * 9 - 2)
    expected = make_grid(pixels, nrow=columns, padding=2)[:channels]
    framed = torch.zeros(channels, rows * 7 + 2, columns * 9 + 2, dtype=torch.uint8)
    framed[:, 2:-2, 2:-2] = sheet
    if count == 1:  # a single image gets no frame from torchvision
        assert torch.equal(sheet, expected)
    else:
        assert torch.equal(framed, expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("transparency", [0, bytes(range(0, 256, 16))], ids=["one-entry", "alpha-per-entry"])
def test_palette_transparency_is_ignored_without_a_warning(transparency: int | bytes, channels: int) -> None:
    """The pixels are the palette's colours, as in the same file without transparency."""
    image = Image.linear_gradient("L").resize((8, 8)).convert("RGB").quantize(16)
    files = [io.BytesIO(), io.BytesIO()]
    image.save(files[0], "PNG")
    image.save(files[1], "PNG", transparency=transparency)
    assert "transparency" in Image.open(files[1]).info
    opaque, transparent = (images.read(file.getvalue(), channels) for file in files)
    assert torch.equal(transparent, opaque)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_alpha_channel_is_ignored(mode: str, channels: int) -> None:
    grey = noise(1, 4, 4)
    opaque = images.to_pil(grey).convert(mode)
    transparent = opaque.copy()
    transparent.putalpha(images.to_pil(noise(1, 4, 4, seed=1)))
    assert torch.equal(images.from_pil(transparent, channels), images.from_pil(opaque, channels))
