"""Fixtures of the tests of jobs."""

from __future__ import annotations

import pytest
from redis import Redis

from jobs.records import Records


@pytest.fixture
def records(redis: Redis) -> Records:
    return Records(redis)
