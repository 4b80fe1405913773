"""The check of a job's start image: only a complete file of the model's size is accepted."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from jobs.resolve import FieldError
from jobs.start_image import START_FORMATS, check_start_image
from tests.jobs.factories import CARD

SIZE = (CARD.image_size, CARD.image_size)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def check(data: bytes) -> None:
    check_start_image(base64.b64encode(data).decode(), CARD)


@pytest.mark.parametrize("kind", START_FORMATS)
def test_image_of_every_format_is_accepted(kind: str) -> None:
    check(encoded(Image.linear_gradient("L").resize(SIZE), kind))


def test_png_cut_at_any_byte_is_refused() -> None:
    whole = encoded(Image.linear_gradient("L").resize(SIZE))
    check(whole)
    for kept in range(len(whole)):
        with pytest.raises(FieldError, match=r"not one that (cannot be read|is cut short)"):
            check(whole[:kept])


def test_data_url_is_refused_with_what_to_send_instead() -> None:
    image = base64.b64encode(encoded(Image.new("L", SIZE))).decode()
    with pytest.raises(FieldError, match="not a data: URL: send only the part after its comma") as refused:
        check_start_image(f"data:image/png;base64,{image}", CARD)
    assert refused.value.field == "image"


def test_image_of_another_size_is_refused_with_both_sizes() -> None:
    with pytest.raises(FieldError, match=f"{SIZE[0]} × {SIZE[1]} pixels, not one of 9 × 8 pixels"):
        check(encoded(Image.new("L", (9, 8))))
