"""Keeps processes alive: starts them in order, starts again what dies, stops them in reverse."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

POLL_SECONDS = 0.2
STOP_SECONDS = 20.0  # what a process may take to put its work down
RESTART_SECONDS = 0.5  # before the first restart, and twice as long before each further one …
LONGEST_RESTART_SECONDS = 10.0
STEADY_SECONDS = 30.0  # … until it has lived this long
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Part:
    """One process to be kept alive."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause: float = RESTART_SECONDS


@dataclass(slots=True)
class Supervisor:
    parts: list[Part]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start(self, part: Part) -> None:
        # A session of its own: Ctrl-C reaches the supervisor alone, which then stops the parts in order.
        part.process = subprocess.Popen(part.command, start_new_session=True, preexec_fn=_die_with_parent)
        part.started = time.monotonic()

    def start_all(self) -> None:
        for part in self.parts:
            self.start(part)

    def watch(self) -> None:
        """Starts again what dies, until `request_stop` is called."""
        while not self._stopping.wait(POLL_SECONDS):
            self.revive()

    def revive(self) -> None:
        """Starts again what has died."""
        for part in self.parts:
            if part.process is not None and part.process.poll() is not None:
                self._restart(part, part.process.returncode)

    def request_stop(self) -> None:
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop_all(self) -> None:
        """Asks each part to end, last started first, and ends what does not."""
        for part in reversed(self.parts):
            if part.process is None or part.process.poll() is not None:
                continue
            part.process.send_signal(signal.SIGTERM)
            try:
                part.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("part does not stop, killed", part=part.name)
                part.process.kill()
                part.process.wait()

    def _restart(self, part: Part, code: int) -> None:
        if time.monotonic() - part.started > STEADY_SECONDS:
            part.pause = RESTART_SECONDS
        log.warning("part died, starting it again", part=part.name, exit_code=code, seconds=part.pause)
        if not self._stopping.wait(part.pause):
            part.pause = min(part.pause * 2, LONGEST_RESTART_SECONDS)
            self.start(part)


def _die_with_parent() -> None:
    """Linux ends the process when the supervisor is killed, so that no orphan keeps the port or the data."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
