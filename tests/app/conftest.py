"""The app on a real Redis and a real HTTP server. Tests take the worker's part: they publish cards and advance jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis

from jobs import models
from tests.app.web import serving
from tests.jobs.made import CARD
from tests.jobs.mortal import MortalRedis


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
def mortal_redis(tmp_path: Path) -> Iterator[MortalRedis]:
    with MortalRedis(tmp_path) as server:
        yield server
