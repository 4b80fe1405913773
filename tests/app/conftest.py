"""The app on a real Redis and a real HTTP server. Tests act as the worker: they publish cards and advance jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from jobs import models
from tests.app.http_helpers import serving
from tests.jobs.factories import CARD
from tests.jobs.killable_redis import KillableRedis


@pytest.fixture(scope="session")
def app_url(redis_url: str) -> Iterator[str]:
    with serving(redis_url=redis_url) as url:
        yield url


@pytest.fixture
def http(app_url: str, redis: Redis) -> Iterator[httpx.Client]:
    """A client of an app for which a worker has published one model."""
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    with httpx.Client(base_url=app_url, timeout=30) as client:
        yield client


@pytest.fixture
def killable_redis(tmp_path: Path) -> Iterator[KillableRedis]:
    with KillableRedis(tmp_path) as server:
        yield server
