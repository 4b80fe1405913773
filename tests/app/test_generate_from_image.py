"""POST /generate with `image`: jobs that start from a noised image."""

from __future__ import annotations

import base64
import hashlib
import io

import httpx
import pytest
from PIL import Image
from redis import Redis

from jobs.start_image import START_FORMATS
from tests.app.http_helpers import assert_problem, jobs_in


def image_file(width: int, height: int, format: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, format)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("format", START_FORMATS)
def test_job_may_start_from_an_image_of_the_models_size(http: httpx.Client, format: str) -> None:
    image = image_file(8, 8, format)
    response = http.post("/generate", json={"image": image, "strength": 0.5})
    assert response.status_code == 202
    request = response.json()["request"]
    assert (request["start"], request["steps"]) == (500, 500)
    assert request["image"] == hashlib.sha256(base64.b64decode(image)).hexdigest(), "a view has its digest"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (image_file(8, 9), "of 8 × 9 pixels"),
        (image_file(4000, 4000), "of 4000 × 4000 pixels"),  # a small file of many pixels
        (image_file(8, 8)[:40], "cannot be read"),
        (image_file(8, 8, "TIFF"), "cannot be read"),
        ("not base64!", "cannot be read"),
        ("", "cannot be read"),
        (base64.b64encode(b"<svg/>").decode(), "cannot be read"),
    ],
    ids=["oblong", "large", "cut-off", "tiff", "no-base64", "empty", "svg"],
)
def test_unusable_start_image_is_422(http: httpx.Client, image: str, said: str, redis: Redis) -> None:
    response = http.post("/generate", json={"image": image})
    assert_problem(response, 422, "image", "8 × 8 pixels")
    assert said in response.json()["detail"]
    assert jobs_in(redis) == 0
