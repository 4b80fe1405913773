"""One listener a process tells watchers that a job's stream has grown; those who stand at one place read on together.

A slow client holds nothing up and nothing is kept in memory for it: the stream in Redis is its buffer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs import events, keys
from jobs.events import Event

RECHECK_SECONDS = 5.0  # news is only a hint: one that was lost costs this long
OUTAGE_SECONDS = 0.5  # between tries while Redis is away


class Watch:
    """Follows jobs' streams. `run` must be running."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._closed = False
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._reads: dict[tuple[str, str], asyncio.Task[list[Event]]] = {}  # that are about to begin

    async def run(self) -> None:
        """Listens for news until canceled, through any outage."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(keys.NEWS)
                    async for message in pubsub.listen():
                        if message["type"] == "message":
                            self._wake(message["data"].decode())
            await asyncio.sleep(OUTAGE_SECONDS)

    async def follow(self, job_id: str, last_id: str) -> AsyncIterator[Event]:
        """Every event after `last_id`, as it comes, until none can. Waits out a Redis that is away."""
        with self._listening(job_id) as grown:
            while not self._closed:
                grown.clear()
                try:
                    found = await self._read(job_id, last_id)
                    if not found and await events.is_over(self._redis, job_id, last_id):
                        return
                except (RedisError, OSError):
                    await asyncio.sleep(OUTAGE_SECONDS)
                    continue
                for event in found:
                    yield event
                    if event.type.terminal:
                        return
                    last_id = event.id
                if len(found) < events.PAGE:
                    with suppress(TimeoutError):
                        await asyncio.wait_for(grown.wait(), RECHECK_SECONDS)

    def close(self) -> None:
        """Ends every stream where it is; clients resume them elsewhere, or here after a restart."""
        self._closed = True
        for job_id in list(self._waiting):
            self._wake(job_id)

    async def _read(self, job_id: str, last_id: str) -> list[Event]:
        """The next events, with all who ask for them at this moment."""
        if (place := (job_id, last_id)) not in self._reads:
            self._reads[place] = asyncio.create_task(self._read_together(*place))
        return await asyncio.shield(self._reads[place])  # one who leaves does not end it for the others

    async def _read_together(self, job_id: str, last_id: str) -> list[Event]:
        await asyncio.sleep(0)  # all that the same news has woken come along
        del self._reads[job_id, last_id]  # whoever comes from here on may have heard of more
        return await events.read_after(self._redis, job_id, last_id)

    def _wake(self, job_id: str) -> None:
        for event in self._waiting.get(job_id, ()):
            event.set()

    @contextmanager
    def _listening(self, job_id: str) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        self._waiting[job_id].add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].discard(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
