"""Files that are built from a job's results: the last ones are kept, and one is built at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool


class FileCache:
    """Least recently used files go first when all together exceed `max_bytes`.

    Building takes up to some 100 MB; one at a time bounds that, and requests for the same file share one build.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._building = asyncio.Lock()

    async def get(self, name: str, build: Callable[[], bytes]) -> bytes:
        """The file of this name; `build` runs in a thread where it is not kept."""
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
