"""Images, the grid and the animation of a job."""

from __future__ import annotations

import base64
import io
import itertools
from typing import Any

import httpx
import pytest
from PIL import Image, ImageSequence
from redis import Redis

from app.pictures import MAX_GIF_FRAMES, MAX_GRID_PIXELS, grid
from jobs.records import Attempt, Records
from jobs.schema import SHOWN_IMAGES, Done
from jobs.store import RedisStore
from tests.app.http_helpers import assert_problem
from tests.jobs.factories import frame, running


def png(value: Any, size: tuple[int, int] = (8, 8), mode: str = "L") -> bytes:
    """An image of one colour."""
    buffer = io.BytesIO()
    Image.new(mode, size, value).save(buffer, "PNG")
    return buffer.getvalue()


def shown(value: int, size: tuple[int, int] = (8, 8)) -> str:
    return base64.b64encode(png(value, size)).decode()


def finished(redis: Redis, images: list[bytes]) -> Attempt:
    attempt, records = running(redis, count=len(images), labels=[0] * len(images)), Records(redis)
    assert records.store(attempt, dict(enumerate(images)))
    assert records.finish(attempt, Done(images=len(images), seconds=1.0))
    return attempt


def opened(response: httpx.Response, media_type: str) -> Image.Image:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == media_type
    image: Image.Image = Image.open(io.BytesIO(response.content))
    return image


def test_image_is_the_stored_bytes(http: httpx.Client, redis: Redis) -> None:
    images = [png(10 * i) for i in range(12)]
    job = finished(redis, images).job_id
    view = http.get(f"/jobs/{job}").json()
    assert [http.get(url).content for url in view["urls"]["images"]] == images
    assert http.get(view["urls"]["images"][0]).headers["content-type"] == "image/png"


def test_image_is_served_before_the_job_ends(http: httpx.Client, redis: Redis) -> None:
    attempt = running(redis, count=3)
    Records(redis).store(attempt, {1: png(7)})
    assert http.get(f"/jobs/{attempt.job_id}/images/1.png").content == png(7)
    assert_problem(http.get(f"/jobs/{attempt.job_id}/images/0.png"), 409)


@pytest.mark.parametrize("position", ["3", "-1", "99999999999999999999", "00", "+0", "%200", "x"])
def test_image_position_that_does_not_exist_is_404(http: httpx.Client, redis: Redis, position: str) -> None:
    job = finished(redis, [png(i) for i in range(3)]).job_id
    assert_problem(http.get(f"/jobs/{job}/images/{position}.png"), 404)


@pytest.mark.parametrize("what", ["grid.png", "process.gif", "images.zip"])
def test_grid_gif_and_zip_of_an_unfinished_job_are_409(http: httpx.Client, redis: Redis, what: str) -> None:
    attempt = running(redis, count=2)
    Records(redis).store(attempt, {0: png(1)})
    assert_problem(http.get(f"/jobs/{attempt.job_id}/{what}"), 409)
    Records(redis).cancel(attempt.job_id)
    assert_problem(http.get(f"/jobs/{attempt.job_id}/{what}"), 409)


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (2, 2, 1), (5, 3, 2), (12, 4, 3), (16, 4, 4)])
def test_grid_holds_every_image_in_its_place(
    http: httpx.Client, redis: Redis, count: int, columns: int, rows: int
) -> None:
    job = finished(redis, [png(10 + 10 * i) for i in range(count)]).job_id
    sheet = opened(http.get(f"/jobs/{job}/grid.png"), "image/png")
    assert sheet.mode == "L"
    assert sheet.size == (9 * columns - 1, 9 * rows - 1)
    for i in range(columns * rows):
        left, top = 9 * (i % columns), 9 * (i // columns)
        cell = sheet.crop((left, top, left + 8, top + 8))
        colours = [(10 + 10 * i, 10 + 10 * i)] if i < count else [(0, 0)]
        assert [cell.getextrema()] == colours


def test_grid_of_rgb_images_is_rgb(http: httpx.Client, redis: Redis) -> None:
    job = finished(redis, [png((255, 0, 0), mode="RGB"), png((0, 0, 255), mode="RGB")]).job_id
    sheet = opened(http.get(f"/jobs/{job}/grid.png"), "image/png")
    assert (sheet.mode, sheet.getpixel((0, 0)), sheet.getpixel((9, 0))) == ("RGB", (255, 0, 0), (0, 0, 255))


def processed(redis: Redis, waves: list[tuple[int, int, list[str]]], count: int) -> str:
    """A finished job whose stream has these frames: (step, first, images)."""
    attempt, records = running(redis, count=count), Records(redis)
    for step, first, images in waves:
        assert records.frame(attempt, frame(attempt, step, first, images))
    assert records.finish(attempt, Done(images=count, seconds=1.0))
    return attempt.job_id


def pictures(response: httpx.Response) -> list[Image.Image]:
    return [each.convert("L") for each in ImageSequence.Iterator(opened(response, "image/gif"))]


def test_gif_has_one_picture_a_frame_with_each_wave_in_its_place(http: httpx.Client, redis: Redis) -> None:
    waves = [
        (1, 0, [shown(50), shown(60)]),
        (2, 0, [shown(100), shown(110)]),
        (1, 2, [shown(150)]),
        (2, 2, [shown(200)]),
    ]
    gif = pictures(http.get(f"/jobs/{processed(redis, waves, 3)}/process.gif"))
    factor = 256 // 17
    assert {picture.size for picture in gif} == {(17 * factor, 17 * factor)}, "enlarged by a whole factor"
    places = [(0, 0), (9 * factor, 0), (0, 9 * factor)]
    expected = [[50, 60, 0], [100, 110, 0], [100, 110, 150], [100, 110, 200]]
    assert [[picture.getpixel(place) for place in places] for picture in gif] == expected


def test_gif_loops_and_shows_the_last_frame_longer(http: httpx.Client, redis: Redis) -> None:
    waves = [(step, 0, [shown(40 * step)]) for step in (1, 2, 3)]
    gif = opened(http.get(f"/jobs/{processed(redis, waves, 1)}/process.gif"), "image/gif")
    durations = [each.info["duration"] for each in ImageSequence.Iterator(gif)]
    assert gif.info["loop"] == 0
    assert durations[0] == durations[1] < durations[2]


def test_gif_enlarges_frames_that_were_sent_smaller(http: httpx.Client, redis: Redis) -> None:
    """Noise does not compress, so the first frames of a large image may have half its size, or a quarter."""
    waves = [(1, 0, [shown(50, (8, 8))]), (2, 0, [shown(100, (16, 16))]), (3, 0, [shown(150, (32, 32))])]
    gif = pictures(http.get(f"/jobs/{processed(redis, waves, 1)}/process.gif"))
    assert [picture.getextrema() for picture in gif] == [(50, 50), (100, 100), (150, 150)]
    assert {picture.size for picture in gif} == {(256, 256)}


def test_gif_of_a_large_job_shows_its_first_images(http: httpx.Client, redis: Redis) -> None:
    waves = [(step, 0, [shown(10 * step)] * SHOWN_IMAGES) for step in (1, 2)]
    gif = pictures(http.get(f"/jobs/{processed(redis, waves, 100)}/process.gif"))
    assert gif[0].size == (3 * (9 * 8 - 1), 3 * (9 * 8 - 1))


def test_gif_without_frames_is_409(http: httpx.Client, redis: Redis) -> None:
    attempt, records = running(redis, count=1, frames=0), Records(redis)
    records.finish(attempt, Done(images=1, seconds=1.0))
    assert_problem(http.get(f"/jobs/{attempt.job_id}/process.gif"), 409)


def test_gif_of_many_waves_has_at_most_100_frames(http: httpx.Client, redis: Redis) -> None:
    """A worker with few slots sends frames for each wave of images."""
    waves = [(step, first, [shown(2 * step + first)]) for first in range(4) for step in range(1, 61)]
    gif = pictures(http.get(f"/jobs/{processed(redis, waves, 4)}/process.gif"))
    assert 60 < len(gif) <= MAX_GIF_FRAMES + 1
    factor = 256 // 17
    corners = [(0, 0), (9 * factor, 0), (0, 9 * factor), (9 * factor, 9 * factor)]
    assert [gif[-1].getpixel(corner) for corner in corners] == [120, 121, 122, 123], "the last frame is kept"


def test_grid_and_gif_are_built_once(http: httpx.Client, redis: Redis) -> None:
    attempt, records = running(redis, count=1, labels=[0]), Records(redis)
    records.store(attempt, {0: png(1)})
    records.frame(attempt, frame(attempt, 1, 0, [shown(1)]))
    records.finish(attempt, Done(images=1, seconds=1.0))
    first = [http.get(f"/jobs/{attempt.job_id}/{name}").content for name in ("grid.png", "process.gif")]
    redis.config_resetstat()
    assert [http.get(f"/jobs/{attempt.job_id}/{name}").content for name in ("grid.png", "process.gif")] == first
    assert not {"cmdstat_hget", "cmdstat_xrange"} & redis.info("commandstats").keys()
    RedisStore(redis).delete([attempt.job_id])
    assert_problem(http.get(f"/jobs/{attempt.job_id}/grid.png"), 404)


@pytest.mark.parametrize(("side", "shrunk"), [(64, 64), (128, 68)])
def test_grid_of_4096_images_is_bounded(side: int, shrunk: int) -> None:
    image = png((1, 2, 3), (side, side), "RGB")
    sheet: Image.Image = Image.open(io.BytesIO(grid(itertools.repeat(image, 4096), 4096)))
    assert sheet.size == (64 * (shrunk + 1) - 1, 64 * (shrunk + 1) - 1)
    assert sheet.width * sheet.height <= MAX_GRID_PIXELS
    assert sheet.crop((0, 0, shrunk, shrunk)).getextrema() == ((1, 1), (2, 2), (3, 3))


def test_results_may_be_cached_by_the_browser_alone(http: httpx.Client, redis: Redis) -> None:
    job = finished(redis, [png(1)]).job_id
    assert "private" in http.get(f"/jobs/{job}/images/0.png").headers["cache-control"]
