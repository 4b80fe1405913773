"""Checks the image that a job starts from (image-to-image) before the job is accepted."""

from __future__ import annotations

import base64
import io

from PIL import Image

from jobs.resolve import FieldError
from jobs.schema import ModelCard

START_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
QUOTED = 12  # characters of the file repeated in an error


def check_start_image(image: str, card: ModelCard) -> None:
    """Whether a model can begin from this file. Raises FieldError; what is hostile or enormous is never unpacked."""
    wanted = f"the base64 of a {', '.join(START_FORMATS)} file of {card.image_size} × {card.image_size} pixels"
    try:
        with Image.open(io.BytesIO(base64.b64decode(image, validate=True)), formats=START_FORMATS) as picture:
            given = f"one of {picture.width} × {picture.height} pixels"
            if picture.size == (card.image_size, card.image_size):
                picture.load()
                return
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        given = "one that cannot be read"
    raise FieldError("image", f"{image[:QUOTED]}…", f"{wanted}, not {given}")
