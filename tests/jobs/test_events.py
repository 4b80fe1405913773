"""Reading a job's event stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from jobs import events
from jobs.events import PAGE, START, Event, is_event_id
from jobs.records import Attempt, Records
from jobs.schema import EVENT_DATA, Done, EventType
from tests.jobs.factories import frame, running


@pytest.fixture
def job(redis: Redis) -> Attempt:
    """A finished job with more than two pages of frames."""
    attempt, records = running(redis, frames=100), Records(redis)
    for step in range(1, 2 * PAGE + 1):
        assert records.frame(attempt, frame(attempt, step))
    assert records.finish(attempt, Done(images=4, seconds=1.0))
    return attempt


def reading(url: str, read: Callable[[AsyncRedis], Any]) -> Any:
    async def run() -> Any:
        async with AsyncRedis.from_url(url) as redis:
            return await read(redis)

    return asyncio.run(run())


async def read_all(redis: AsyncRedis, job_id: str, last_id: str = START) -> list[Event]:
    found: list[Event] = []
    while page := await events.read_after(redis, job_id, found[-1].id if found else last_id):
        assert len(page) <= PAGE
        found += page
    return found


def test_pages_together_hold_every_event(redis_url: str, job: Attempt) -> None:
    found_events = reading(redis_url, lambda redis: read_all(redis, job.job_id))
    kinds = [event.type for event in found_events]
    assert kinds == [EventType.QUEUED, EventType.STARTED, *[EventType.FRAME] * (2 * PAGE), EventType.DONE]
    assert len({event.id for event in found_events}) == len(found_events)
    for event in found_events:
        EVENT_DATA[event.type].model_validate_json(event.data)


def test_read_after_any_event_returns_the_following_ones(redis_url: str, job: Attempt) -> None:
    async def compare(redis: AsyncRedis) -> None:
        found_events = await read_all(redis, job.job_id)
        for i, event in enumerate(found_events):
            assert await read_all(redis, job.job_id, event.id) == found_events[i + 1 :]

    reading(redis_url, compare)


def test_unknown_job_has_no_events(redis_url: str, redis: Redis) -> None:
    assert reading(redis_url, lambda redis: events.read_after(redis, "f" * 32, START)) == []


def test_frames_returns_only_frames_in_order(redis: Redis, job: Attempt) -> None:
    assert [each.step for each in events.frames(redis, job.job_id)] == list(range(1, 2 * PAGE + 1))


@pytest.mark.parametrize("text", ["0-0", "1763647200000-0", "18446744073709551615-7"])
def test_stream_ids_are_event_ids(redis: Redis, text: str) -> None:
    assert is_event_id(text)
    redis.xrange("any", f"({text}")  # raises for an invalid id


@pytest.mark.parametrize(
    "text",
    ["", "-", "0", "$", "+", "abc", "1-", "-1-0", "1-0\n", "1-0 ", "١-٠", "18446744073709551616-0", "9" * 20 + "-0"],
)
def test_ids_that_redis_refuses_are_not_event_ids(text: str) -> None:
    assert not is_event_id(text)


def test_largest_id_is_not_an_event_id() -> None:
    assert not is_event_id("18446744073709551615-18446744073709551615")
