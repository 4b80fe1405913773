"""Signs of life, from a thread of their own: the main one may be compiling for a minute."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()


class Heartbeat:
    """Calls each of `tasks` every `seconds`, until closed. A task that fails is named and tried again."""

    def __init__(self, seconds: float, tasks: list[Callable[[], None]]) -> None:
        self._seconds, self._tasks = seconds, tasks
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            for task in self._tasks:
                try:
                    task()
                except Exception:  # the next beat may succeed, and without any the worker would be thought dead
                    log.exception("heartbeat failed", task=task.__qualname__)
