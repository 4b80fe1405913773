"""Supervises processes: starts them in order, restarts those that exit, stops them in reverse order."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()

POLL_SECONDS = 0.2
STOP_SECONDS = 20.0  # seconds between SIGTERM and SIGKILL
RESTART_SECONDS = 0.5  # delay before the first restart; doubles with each further one
MAX_RESTART_SECONDS = 10.0  # maximum delay before a restart
STEADY_SECONDS = 30.0  # uptime after which the delay is reset
PR_SET_PDEATHSIG = 1


@dataclass(slots=True)
class Process:
    """A supervised process; `environment` is added to the supervisor's own."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    popen: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay: float = RESTART_SECONDS


@dataclass(slots=True)
class Supervisor:
    processes: list[Process]
    _stopping: threading.Event = field(default_factory=threading.Event)

    def start_all(self) -> None:
        for process in self.processes:
            self._start(process)

    def watch(self) -> None:
        """Restarts processes that exit, until `request_stop` is called."""
        while not self._stopping.wait(POLL_SECONDS):
            self.restart_exited()

    def restart_exited(self) -> None:
        for process in self.processes:
            if process.popen is not None and process.popen.poll() is not None:
                self._restart(process, process.popen.returncode)

    def request_stop(self) -> None:
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    def stop_all(self) -> None:
        """Sends SIGTERM to each process, the last started first, and SIGKILL after STOP_SECONDS."""
        for process in reversed(self.processes):
            if process.popen is None or process.popen.poll() is not None:
                continue
            process.popen.send_signal(signal.SIGTERM)
            try:
                process.popen.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                log.warning("process does not stop, sending SIGKILL", process=process.name)
                process.popen.kill()
                process.popen.wait()

    def _start(self, process: Process) -> None:
        # In a new session Ctrl-C reaches only the supervisor, which then stops the processes in order.
        process.popen = subprocess.Popen(
            process.command,
            env=os.environ | process.environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        process.started = time.monotonic()

    def _restart(self, process: Process, exit_code: int) -> None:
        if time.monotonic() - process.started > STEADY_SECONDS:
            process.delay = RESTART_SECONDS
        log.warning("process exited, restarting it", process=process.name, exit_code=exit_code, seconds=process.delay)
        if not self._stopping.wait(process.delay):
            process.delay = min(process.delay * 2, MAX_RESTART_SECONDS)
            self._start(process)


def _die_with_parent() -> None:
    """Linux sends SIGTERM when the supervisor dies, so that no orphan keeps the port or the data."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
