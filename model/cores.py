"""Switches off the spinning of OpenMP threads while other processes use the same CPU cores.

The threads of an operation meet at a barrier, about a hundred times a step. In libgomp they spin there for up to 3 ms,
which is fastest while each thread has its own core. Once another process takes a core, a thread spins in wait for one
that is not running, and uses up the time that the other thread needs. While its threads outnumber the CPUs, libgomp
spins for only 100 rounds, so this module starts a team of idle threads to switch spinning off. Spinning changes no
result. The number of computing threads stays the same, since torch would recompile networks for another number.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import torch

CHECK_SECONDS = 0.5  # seconds between two checks
CONTENDED = 0.3  # contention threshold: number of cores that other processes take from the threads of an operation
CALM_SECONDS = 3.0  # time without contention after which threads spin again
STAT = Path("/proc/stat")
IDLE = slice(3, 5)  # fields of a CPU's line: idle, iowait
GUEST = 8  # first of the guest fields, whose time is included in user time


class Cores:
    """Switches spinning off while other processes use the cores. Has an effect only on Linux with libgomp."""

    def __init__(self) -> None:
        self._libgomp = _libgomp()
        self._idle_team: threading.Event | None = None  # ends the idle team
        self._checked = self._contended = time.monotonic()
        self._others = 0.0 if self._libgomp is None else _seconds_of_others()

    @property
    def spins(self) -> bool:
        return self._idle_team is None

    def adapt(self) -> None:
        """Call after each step, from the computing thread. Reads one file every CHECK_SECONDS."""
        now = time.monotonic()
        if self._libgomp is None or now - self._checked < CHECK_SECONDS:
            return
        others = _seconds_of_others()
        busy = (others - self._others) / (now - self._checked)
        self._others, self._checked = others, now
        if busy + torch.get_num_threads() > len(_cpus()) + CONTENDED:
            self._contended = now
            self._stop_spinning(self._libgomp)
        elif now - self._contended > CALM_SECONDS:
            self.close()

    def close(self) -> None:
        """Lets threads spin again."""
        if self._idle_team is not None:
            self._idle_team.set()
            self._idle_team = None

    def _stop_spinning(self, libgomp: ctypes.CDLL) -> None:
        if self._idle_team is None:
            self._idle_team = threading.Event()
            threading.Thread(target=_hold_team, args=(libgomp, self._idle_team), daemon=True).start()


def _hold_team(libgomp: ctypes.CDLL, end: threading.Event) -> None:
    """Starts one thread more than there are CPUs; they sleep until this thread ends. libgomp counts them."""
    nothing = ctypes.cast(libgomp.omp_get_level, ctypes.c_void_p)  # any function without effect
    libgomp.GOMP_parallel(nothing, None, (os.cpu_count() or 1) + 1, 0)
    end.wait()


def _seconds_of_others() -> float:
    """CPU time of all other processes on the CPUs that this one may use, relative to an arbitrary origin."""
    busy, names = 0, {f"cpu{number}" for number in _cpus()}
    with suppress(OSError):
        for line in STAT.read_text().splitlines():
            name, *fields = line.split()
            if name in names:
                ticks = [int(field) for field in fields[:GUEST]]
                busy += sum(ticks) - sum(ticks[IDLE])
        return busy / os.sysconf("SC_CLK_TCK") - time.process_time()
    return 0.0


def _cpus() -> set[int]:
    return os.sched_getaffinity(0)


def _libgomp() -> ctypes.CDLL | None:
    """The libgomp of torch; other packages, such as scikit-learn, may have loaded another copy."""
    with suppress(OSError):
        mapped = {line.split(maxsplit=5)[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
        copies = [path for path in mapped if "libgomp" in path]
        copies.sort(key=lambda path: not path.startswith(str(Path(torch.__file__).parent)))
        return ctypes.CDLL(copies[0]) if copies else None
    return None
