"""Follows jobs' event streams for all clients of this process, with one subscription.

A slow client delays no other and takes no memory: the stream in Redis is its buffer.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs import events, keys
from jobs.events import Event

RECHECK_SECONDS = 5.0  # a notification may be lost, so streams are read at least this often
RETRY_SECONDS = 0.5  # seconds between two attempts while Redis cannot be reached


class Watch:
    """Follows jobs' streams. `run` must be running."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._closed = False
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._reads: dict[tuple[str, str], asyncio.Task[list[Event]]] = {}  # reads about to begin, by job and last id

    async def run(self) -> None:
        """Listens for notifications until canceled, and subscribes again after an outage."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub() as pubsub:
                    await self._listen(pubsub)
            await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, pubsub: PubSub) -> None:
        """Raises TimeoutError if the connection is half open, so that PING is not answered."""
        await pubsub.subscribe(keys.NEWS)
        pinged = False
        while True:
            message = await pubsub.get_message(timeout=RECHECK_SECONDS)
            if message is None and pinged:
                raise RedisTimeoutError("no answer to PING")
            if message is None:
                await pubsub.ping()
            elif message["type"] == "message":
                self._wake(message["data"].decode())
            pinged = message is None

    async def follow(self, job_id: str, last_id: str) -> AsyncIterator[Event]:
        """Yields each event after `last_id` as it is written, until none can follow. Waits through Redis outages."""
        with self._listening(job_id) as grown:
            while not self._closed:
                grown.clear()
                try:
                    found = await self._read(job_id, last_id)
                    if not found and await events.is_over(self._redis, job_id, last_id):
                        return
                except (RedisError, OSError):
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                for event in found:
                    yield event
                    if event.type.terminal:
                        return
                    last_id = event.id
                if len(found) < events.PAGE:
                    await _wait(grown)

    async def ended(self, job_id: str) -> None:
        """Returns once the job has ended or been deleted. Reads its status only, not its events."""
        with self._listening(job_id) as grown:
            while not self._closed:
                grown.clear()
                with suppress(RedisError, OSError):
                    if await events.has_ended(self._redis, job_id):
                        return
                await _wait(grown)

    def close(self) -> None:
        """Ends all streams. Clients resume at another process, or at this one after a restart."""
        self._closed = True
        for job_id in list(self._waiting):
            self._wake(job_id)

    async def _read(self, job_id: str, last_id: str) -> list[Event]:
        """The next events. Clients that need the same events at the same time share one read."""
        if (key := (job_id, last_id)) not in self._reads:
            self._reads[key] = asyncio.create_task(self._read_together(*key))
        return await asyncio.shield(self._reads[key])  # a client that disconnects does not cancel the others' read

    async def _read_together(self, job_id: str, last_id: str) -> list[Event]:
        await asyncio.sleep(0)  # lets all clients join that were woken by the same notification
        del self._reads[job_id, last_id]  # a later client may have been notified of further events
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


async def _wait(grown: asyncio.Event) -> None:
    """Waits until notified, at most RECHECK_SECONDS."""
    with suppress(TimeoutError):
        await asyncio.wait_for(grown.wait(), RECHECK_SECONDS)
