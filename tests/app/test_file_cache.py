"""FileCache: bounded by bytes, least recently used first, one build at a time."""

from __future__ import annotations

import asyncio
import threading

from app.file_cache import FileCache


def test_least_recently_used_file_is_dropped_first() -> None:
    built: list[str] = []

    async def use() -> None:
        cache = FileCache(max_bytes=250)
        for name in ("a", "b", "a", "c", "a", "b"):
            assert await cache.get(name, lambda name=name: built.append(name) or bytes(100)) == bytes(100)

    asyncio.run(use())
    assert built == ["a", "b", "c", "b"], "c took the place of b, which had been used before a"


def test_file_larger_than_the_cache_is_not_kept() -> None:
    async def use() -> None:
        cache = FileCache(max_bytes=250)
        assert len(await cache.get("large", lambda: bytes(300))) == 300
        assert len(await cache.get("large", lambda: bytes(299))) == 299

    asyncio.run(use())


def test_simultaneous_requests_share_one_build_and_builds_do_not_overlap() -> None:
    running, builds = threading.Semaphore(1), []

    def build(name: str) -> bytes:
        assert running.acquire(blocking=False), "another build is running"
        builds.append(name)
        threading.Event().wait(0.02)
        running.release()
        return name.encode()

    async def use() -> None:
        cache = FileCache(max_bytes=100)
        names = ["a", "b", "a", "c", "b", "a"]
        files = await asyncio.gather(*(cache.get(name, lambda name=name: build(name)) for name in names))
        assert files == [name.encode() for name in names]

    asyncio.run(use())
    assert sorted(builds) == ["a", "b", "c"]


def test_failed_build_is_not_kept() -> None:
    async def use() -> None:
        cache = FileCache(max_bytes=100)
        for _ in range(2):
            try:
                await cache.get("a", lambda: bytes(1 // 0))
            except ZeroDivisionError:
                continue
            raise AssertionError
        assert await cache.get("a", lambda: b"file") == b"file"

    asyncio.run(use())
