"""The processes that `noisemill serve` starts."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from tests.service import children, free_port, wait_until

SECRET_URL = "redis://:secret@127.0.0.1:1/0"  # no server is needed to start the processes


def test_redis_credentials_are_not_in_argv_of_child_processes(tiny: Path, tmp_path: Path) -> None:
    """Every user of the machine can read a process's command line; only its owner can read its environment."""
    command = [sys.executable, "-m", "noisemill", "serve", "--redis-url", SECRET_URL, "--port", str(free_port())]
    command += ["--models", str(tiny.parent), "--state", str(tmp_path / "state")]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as serve:
        try:
            names = {"noisemill app", "noisemill worker"}
            wait_until(lambda: all(any(name in argv for argv in children(serve.pid).values()) for name in names), 60)
            started = children(serve.pid)
        finally:
            serve.send_signal(signal.SIGINT)
    assert "secret" not in "\n".join(started.values())
