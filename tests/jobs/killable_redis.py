"""A Redis server that a test can kill."""

from __future__ import annotations

import subprocess
from pathlib import Path

from serve import redis_server
from tests.conftest import wait_for_redis


class KillableRedis:
    """A Redis server that can be killed, and restarted on its append-only file."""

    def __init__(self, state: Path) -> None:
        self.url = f"unix://{redis_server.socket_path(state)}"
        self._state = state

    def start(self) -> None:
        self._process = subprocess.Popen(redis_server.command(self._state))
        wait_for_redis(self.url)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def __enter__(self) -> KillableRedis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
