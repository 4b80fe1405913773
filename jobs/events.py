"""A job's stream of events. `Records` appends to it, in the same script as the change that an event reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from jobs import keys
from jobs.schema import EventType, Frame, Status

START = "0-0"
PAGE = 32  # events per read: a frame may take 256 kB

_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_LARGEST = (1 << 64) - 1  # value of either part of an id


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a stream. `data` is the JSON of EVENT_DATA[type]."""

    id: str
    type: EventType
    data: str


def is_event_id(text: str) -> bool:
    """Whether Redis accepts this Last-Event-ID as the id of a stream entry with possible successors."""
    found = _ID.fullmatch(text)
    return found is not None and max(map(int, found.groups())) <= _LARGEST and int(found[2]) < _LARGEST


async def read_after(redis: AsyncRedis, job_id: str, last_id: str) -> list[Event]:
    """The next events after `last_id`, at most PAGE."""
    return [_parse(entry) for entry in await redis.xrange(keys.events(job_id), f"({last_id}", count=PAGE)]


async def is_over(redis: AsyncRedis, job_id: str, last_id: str) -> bool:
    """Whether no event will follow `last_id`: it is the terminal one, or the job has been deleted."""
    newest = [_parse(entry) for entry in await redis.xrevrange(keys.events(job_id), count=1)]
    return not any(_order(event.id) > _order(last_id) or not event.type.terminal for event in newest)


async def has_ended(redis: AsyncRedis, job_id: str) -> bool:
    """Whether the job has ended, or has been deleted. Reads no event."""
    status = await redis.hget(keys.job(job_id), "status")
    return status is None or Status(status.decode()).ended


def frames(redis: Redis, job_id: str) -> Iterator[Frame]:
    """Every frame of a job so far, in stream order. Reads PAGE events at a time."""
    last_id = START
    while entries := redis.xrange(keys.events(job_id), f"({last_id}", count=PAGE):
        for event in map(_parse, entries):
            if event.type is EventType.FRAME:
                yield Frame.model_validate_json(event.data)
            last_id = event.id


def _order(event_id: str) -> tuple[int, int]:
    """An id's sort key."""
    milliseconds, _, count = event_id.partition("-")
    return int(milliseconds), int(count)


def _parse(entry: tuple[bytes, dict[bytes, bytes]]) -> Event:
    entry_id, fields = entry
    return Event(entry_id.decode(), EventType(fields[b"type"].decode()), fields[b"data"].decode())
