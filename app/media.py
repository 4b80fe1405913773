"""Media types of files, and the description of a file response in OpenAPI."""

from __future__ import annotations

from typing import Any

PNG = "image/png"
GIF = "image/gif"
ZIP = "application/zip"


def binary(description: str, *media_types: str) -> dict[str, Any]:
    """A response in `responses`: a file of one of these types."""
    schema = {"type": "string", "format": "binary"}
    return {"description": description, "content": {media_type: {"schema": schema} for media_type in media_types}}
