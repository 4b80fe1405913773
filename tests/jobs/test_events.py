"""Reading a job's stream: in pages, from anywhere, to the end."""

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
from tests.jobs.made import frame, running


@pytest.fixture
def told(redis: Redis) -> Attempt:
    """A job with queued, started, more frames than two pages hold, and done."""
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


def test_pages_put_together_are_the_whole_story(redis_url: str, told: Attempt) -> None:
    story = reading(redis_url, lambda redis: read_all(redis, told.job_id))
    kinds = [event.type for event in story]
    assert kinds == [EventType.QUEUED, EventType.STARTED, *[EventType.FRAME] * (2 * PAGE), EventType.DONE]
    assert len({event.id for event in story}) == len(story)
    for event in story:
        EVENT_DATA[event.type].model_validate_json(event.data)


def test_reading_goes_on_exactly_after_any_event(redis_url: str, told: Attempt) -> None:
    async def compare(redis: AsyncRedis) -> None:
        story = await read_all(redis, told.job_id)
        for i, event in enumerate(story):
            assert await read_all(redis, told.job_id, event.id) == story[i + 1 :]

    reading(redis_url, compare)


def test_a_job_that_is_not_there_has_no_events(redis_url: str, redis: Redis) -> None:
    assert reading(redis_url, lambda redis: events.read_after(redis, "f" * 32, START)) == []


def test_frames_are_read_in_order_and_alone(redis: Redis, told: Attempt) -> None:
    assert [each.step for each in events.frames(redis, told.job_id)] == list(range(1, 2 * PAGE + 1))


@pytest.mark.parametrize("text", ["0-0", "1763647200000-0", "18446744073709551615-7"])
def test_ids_of_redis_are_ids(redis: Redis, text: str) -> None:
    assert is_event_id(text)
    redis.xrange("any", f"({text}")  # raises where Redis does not think so


@pytest.mark.parametrize(
    "text",
    ["", "-", "0", "$", "+", "abc", "1-", "-1-0", "1-0\n", "1-0 ", "١-٠", "18446744073709551616-0", "9" * 20 + "-0"],
)
def test_what_redis_would_refuse_is_no_id(text: str) -> None:
    assert not is_event_id(text)


def test_nothing_can_follow_the_last_id_that_there_is() -> None:
    assert not is_event_id("18446744073709551615-18446744073709551615")
