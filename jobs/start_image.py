"""Checks the image that a job starts from (image-to-image) before the job is accepted."""

from __future__ import annotations

import base64
import io

from PIL import Image

from jobs.resolve import FieldError
from jobs.schema import ModelCard

START_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
PNG_END = b"IEND\xaeB`\x82"  # type and CRC of a PNG's last chunk
QUOTED = 12  # characters of the file repeated in an error


def check_start_image(image: str, card: ModelCard) -> None:
    """Raises FieldError where `image` is not the base64 of a complete file of the model's size.

    The size is read from the file's header, so a file of the wrong size is refused without decoding its pixels.
    """
    allowed = f"the base64 of a {', '.join(START_FORMATS)} file of {card.image_size} × {card.image_size} pixels"
    try:
        data = base64.b64decode(image, validate=True)
        with Image.open(io.BytesIO(data), formats=START_FORMATS) as picture:
            given = f"one of {picture.width} × {picture.height} pixels"
            if picture.size == (card.image_size, card.image_size):
                picture.load()
                if picture.format != "PNG" or PNG_END in data:  # Pillow loads a PNG without its end
                    return
                given = "one that is cut short"
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError):
        given = "one that cannot be read"
        if image.startswith("data:"):
            given = "a data: URL: send only the part after its comma"
    raise FieldError("image", f"{image[:QUOTED]}…", f"{allowed}, not {given}")
