"""A cache of files that are built from a job's results, one at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool


class FileCache:
    """Evicts the least recently used files when their total exceeds `max_bytes`.

    A build takes up to some 100 MB of memory; one build at a time limits that, and requests for the same file share it.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._building = asyncio.Lock()

    async def get(self, name: str, build: Callable[[], bytes]) -> bytes:
        """The file of this name; `build` runs in a thread if the file is not in the cache."""
        if name not in self._files:
            async with self._building:
                if name not in self._files:
                    file = await run_in_threadpool(build)
                    self._keep(name, file)
                    return file
        self._files.move_to_end(name)
        return self._files[name]

    def _keep(self, name: str, file: bytes) -> None:
        self._files[name] = file
        while sum(map(len, self._files.values())) > self._max_bytes:
            self._files.popitem(last=False)
