"""Runs work in a subprocess of low priority, while jobs continue."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_context, parent_process
from multiprocessing.context import SpawnProcess

# Niceness of the subprocess. On two cores jobs keep half of their rate meanwhile, and a network compiles in a minute
# instead of half a minute. Without it a step's threads wait for the compiler at every barrier, and jobs keep a tenth.
NICE = 7


def run_in_subprocess(work: Callable[..., object], *arguments: object) -> SpawnProcess:
    """Starts the work. The subprocess ends with this process, however that ends, and ignores Ctrl-C."""
    process = get_context("spawn").Process(target=_run, args=(work, *arguments), daemon=True)
    process.start()
    return process


def _run(work: Callable[..., object], *arguments: object) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(NICE)
    work(*arguments)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
