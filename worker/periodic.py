"""Runs tasks periodically in a background thread, since the main thread may compile for a minute."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger()

CLOSE_SECONDS = 5.0  # maximum time that `close` waits for a running task


class Periodic:
    """Calls each of `tasks` every `seconds`, until closed. A task that raises is logged and called again."""

    def __init__(self, name: str, seconds: float, tasks: list[Callable[[], None]]) -> None:
        self._seconds, self._tasks = seconds, tasks
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._closed.wait(self._seconds):
            for task in self._tasks:
                try:
                    task()
                except Exception:  # the next call may succeed, and without a heartbeat the worker counts as dead
                    log.exception("periodic task failed", task=task.__qualname__)
