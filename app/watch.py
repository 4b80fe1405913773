"""Follows jobs' event streams for all clients of this process, with one subscription.

A slow client holds nothing up, and nothing is kept in memory for it: the stream in Redis is its buffer.
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
OUTAGE_SECONDS = 0.5  # between tries while Redis cannot be reached


class Watch:
    """Follows jobs' streams. `run` must be running."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._closed = False
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._reads: dict[tuple[str, str], asyncio.Task[list[Event]]] = {}  # that are about to begin

    async def run(self) -> None:
        """Listens for notifications until canceled, and subscribes again after an outage."""
        while True:
            with suppress(RedisError, OSError):
                async with self._redis.pubsub() as pubsub:
                    await self._listen(pubsub)
            await asyncio.sleep(OUTAGE_SECONDS)

    async def _listen(self, pubsub: PubSub) -> None:
        """Raises TimeoutError where the connection is half open: PING is not answered."""
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
        """Every event after `last_id`, as it is written, until no more can follow. Outages of Redis are waited out."""
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
                    await _wait(grown)

    async def ended(self, job_id: str) -> None:
        """Returns once the job has ended or been deleted; reads its status, and none of its events."""
        with self._listening(job_id) as grown:
            while not self._closed:
                grown.clear()
                with suppress(RedisError, OSError):
                    if await events.has_ended(self._redis, job_id):
                        return
                await _wait(grown)

    def close(self) -> None:
        """Ends every stream where it is; clients resume at another process, or here after a restart."""
        self._closed = True
        for job_id in list(self._waiting):
            self._wake(job_id)

    async def _read(self, job_id: str, last_id: str) -> list[Event]:
        """The next events: one read for all clients that need the same ones now."""
        if (place := (job_id, last_id)) not in self._reads:
            self._reads[place] = asyncio.create_task(self._read_together(*place))
        return await asyncio.shield(self._reads[place])  # a client that disconnects does not cancel it for the others

    async def _read_together(self, job_id: str, last_id: str) -> list[Event]:
        await asyncio.sleep(0)  # lets all clients join that the same notification has woken
        del self._reads[job_id, last_id]  # a client that comes later may have been notified of more
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
    """Until notified, at most RECHECK_SECONDS."""
    with suppress(TimeoutError):
        await asyncio.wait_for(grown.wait(), RECHECK_SECONDS)
