"""Frames: which steps they show, and their size. Writes: their order, and the limit of pending ones."""

from __future__ import annotations

import base64
import io
import math
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from redis import Redis
from redis.exceptions import RedisError
from torch import Tensor

from jobs import events, keys
from jobs.records import Attempt, Records
from jobs.schema import FRAME_BYTES, SHOWN_IMAGES, Done, Frame
from jobs.store import RedisStore
from model.images import from_uint8
from model.sampling.schedule import Schedule
from tests.jobs.factories import running, spec
from worker.sampling.engine import Step, Task
from worker.sampling.publish import Publisher, shown_rows


@given(st.integers(1, 1000).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(1, min(steps, 100)))))
def test_shown_rows_are_evenly_spaced_and_include_the_last(asked: tuple[int, int]) -> None:
    steps, frames = asked
    shown = sorted(shown_rows(steps, frames))
    assert len(shown) == frames
    assert shown[-1] == steps
    gaps = [after - before for before, after in zip([0, *shown], shown, strict=False)]
    assert max(gaps) - min(gaps) <= 2
    assert min(gaps) >= 1


def test_shown_rows_of_zero_frames_are_none() -> None:
    assert shown_rows(1000, 0) == frozenset()


def test_shown_rows_of_as_many_frames_as_steps_are_all() -> None:
    assert shown_rows(7, 7) == frozenset(range(1, 8))


def step(pixels: Tensor, first: int = 0) -> Step:
    """A last step whose x̂0 has these pixels, uint8 (B, C, H, W)."""
    count = first + len(pixels)
    task = Task.of("job", spec(count=count, labels=None, steps=2), Schedule(), channels=1)
    return Step(task, first, row=2, timestep=499, evaluations=len(pixels), x0=from_uint8(pixels))


def noise(count: int, channels: int, height: int, width: int) -> Tensor:
    """Incompressible pixels."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=generator)


def published(redis: Redis, of: Step) -> Frame | None:
    """The frame as read from Redis; checks that it has at most FRAME_BYTES."""
    attempt = running(redis)
    publisher = Publisher(Records(redis))
    publisher.frame(attempt, of)
    publisher.flush()
    publisher.check()
    for _, fields in redis.xrange(keys.events(attempt.job_id)):
        assert len(fields[b"data"]) < FRAME_BYTES
    return next(events.frames(redis, attempt.job_id), None)


def decoded(image: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(image)))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_small_images_are_shown_exactly(redis: Redis, channels: int, mode: str) -> None:
    pixels = noise(5, channels, 8, 12)
    frame = published(redis, step(pixels, first=3))
    assert frame is not None
    assert (frame.first, frame.step, frame.steps, frame.timestep) == (3, 2, 2, 499)
    for image, expected in zip(map(decoded, frame.images), pixels, strict=True):
        assert (image.mode, image.size) == (mode, (12, 8))
        assert image.tobytes() == expected.permute(1, 2, 0).contiguous().numpy().tobytes()


def test_frames_show_only_the_first_images(redis: Redis) -> None:
    across = published(redis, step(noise(10, 1, 8, 8), first=SHOWN_IMAGES - 4))
    assert across is not None
    assert len(across.images) == 4
    assert published(redis, step(noise(10, 1, 8, 8), first=SHOWN_IMAGES)) is None


@pytest.mark.parametrize("size", [28, 54, 55, 56, 64, 128])
def test_frame_holds_as_many_images_as_fit(redis: Redis, size: int) -> None:
    frame = published(redis, step(noise(64, 1, size, size)))
    assert frame is not None
    assert 1 <= len(frame.images) <= 64
    assert {decoded(image).size for image in frame.images} == {(size, size)}
    used = sum(map(len, frame.images))
    assert len(frame.images) == 64 or used + 1.1 * used / len(frame.images) > FRAME_BYTES, "as many as fit"


@pytest.mark.parametrize(("height", "width"), [(50, 59), (60, 49)])
def test_frame_size_includes_its_envelope(redis: Redis, height: int, width: int) -> None:
    """64 images of this size come within 300 bytes of the limit."""
    frame = published(redis, step(noise(64, 1, height, width)))
    assert frame is not None
    assert FRAME_BYTES * 0.95 < sum(map(len, frame.images)) < FRAME_BYTES


@pytest.mark.parametrize(("channels", "size", "smaller"), [(1, 512, 2), (3, 256, 2), (3, 512, 2), (3, 1024, 4)])
def test_image_larger_than_a_frame_is_downscaled(redis: Redis, channels: int, size: int, smaller: int) -> None:
    pixels = noise(4, channels, size, size)
    frame = published(redis, step(pixels))
    assert frame is not None
    [image] = map(decoded, frame.images)
    assert image.size == (size // smaller, size // smaller)
    blocks = pixels[0].float().unfold(1, smaller, smaller).unfold(2, smaller, smaller).mean(dim=(3, 4))
    seen = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(*image.size, channels).permute(2, 0, 1)
    assert (seen.float() - blocks).abs().max() <= math.log2(smaller), "the mean of each block, rounded at each halving"


def test_refused_write_reports_the_attempt_as_lost(redis: Redis) -> None:
    lost, held = running(redis), running(redis)
    records = Records(redis)
    records.cancel(lost.job_id)
    publisher = Publisher(records)
    for attempt in (lost, held):
        publisher.images(attempt, spec(count=4), "build", step(noise(4, 1, 8, 8)))
        publisher.finish(attempt, Done(images=4, seconds=1.0))
    publisher.flush()
    assert {publisher.lost.get() for _ in range(publisher.lost.qsize())} == {lost}
    assert [publisher.ended.get() for _ in range(publisher.ended.qsize())] == [held]
    assert RedisStore(redis).get_all(lost.job_id) == {}
    assert sorted(RedisStore(redis).get_all(held.job_id)) == [0, 1, 2, 3]


def test_nothing_is_written_after_a_failed_write(redis: Redis) -> None:
    attempt: Attempt = running(redis)
    publisher = Publisher(Records(redis))
    publisher.check()
    redis.set(keys.images(attempt.job_id), "not a hash")
    publisher.images(attempt, spec(count=4), "build", step(noise(4, 1, 8, 8)))
    publisher.finish(attempt, Done(images=4, seconds=1.0))
    publisher.flush()
    with pytest.raises(RedisError, match="WRONGTYPE"):
        publisher.check()
    assert Records(redis).lost([attempt]) == []


def test_backlog_is_bounded_by_bytes(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image of 100 × 100 takes 10 kB as uint8."""
    monkeypatch.setattr("worker.sampling.publish.MAX_BACKLOG_BYTES", 50_000, raising=False)
    attempt, publisher = running(redis, count=20), Publisher(Records(redis))
    released, handed_over = threading.Event(), []
    monkeypatch.setattr(Records, "store", lambda *_: released.wait(30))

    def hand_over() -> None:
        for first in range(20):
            publisher.images(attempt, spec(count=20), "build", step(noise(1, 1, 100, 100), first))
            handed_over.append(first)

    thread = threading.Thread(target=hand_over)
    thread.start()
    thread.join(1)
    assert 1 <= len(handed_over) <= 5
    released.set()
    thread.join(30)
    publisher.flush()
    assert len(handed_over) == 20


def test_write_larger_than_the_backlog_is_written(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.sampling.publish.MAX_BACKLOG_BYTES", 10)
    attempt, publisher = running(redis), Publisher(Records(redis))
    for first in range(2):
        publisher.images(attempt, spec(count=4), "build", step(noise(1, 1, 8, 8), first))
    publisher.flush()
    publisher.check()
    assert sorted(RedisStore(redis).get_all(attempt.job_id)) == [0, 1]
