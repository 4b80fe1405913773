"""The app on a real Redis, behind a real HTTP server; cards are published and jobs moved along by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from jobs import models
from serve import redis_server
from tests.app.web import serving
from tests.conftest import wait_for_redis
from tests.jobs.made import CARD


@pytest.fixture(scope="session")
def app_url(redis_url: str) -> Iterator[str]:
    with serving(redis_url=redis_url) as url:
        yield url


@pytest.fixture
def http(app_url: str, redis: Redis) -> Iterator[httpx.Client]:
    """Talks to an app to which a worker has published one model."""
    models.publish(redis, "worker", [CARD], alive_seconds=600)
    with httpx.Client(base_url=app_url, timeout=30) as client:
        yield client


class MortalRedis:
    """A server that can be killed and started again on what it had written."""

    def __init__(self, state: Path) -> None:
        self.url = f"unix://{redis_server.socket_path(state)}"
        self._state = state
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(redis_server.command(self._state))
        wait_for_redis(self.url)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)


@pytest.fixture
def mortal_redis(tmp_path: Path) -> Iterator[MortalRedis]:
    server = MortalRedis(tmp_path)
    yield server
    server.kill()
