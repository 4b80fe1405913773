"""Prefer: wait=…, which answers once the job has ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis

from jobs.records import Records
from jobs.schema import Done
from tests.app.http_helpers import jobs_in, wait_until
from tests.jobs.factories import frame


@pytest.mark.parametrize("prefer", ["wait=20", "respond-async, wait=20", "Wait = 20", 'wait="20"'])
def test_wait_is_answered_200_as_soon_as_the_job_ends(http: httpx.Client, redis: Redis, prefer: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        answer = pool.submit(http.post, "/generate", json={}, headers={"Prefer": prefer})
        wait_until(lambda: jobs_in(redis) == 1)
        [record], _ = Records(redis).page(None, 1)
        attempt = Records(redis).begin(record.id)
        assert attempt is not None
        assert Records(redis).finish(attempt, Done(images=1, seconds=0.1))
        response = answer.result(30)
    assert time.monotonic() - began < 15
    assert response.status_code == 200
    assert response.json()["status"] == "finished"
    assert response.headers["preference-applied"] == "wait=20"


def test_wait_reads_no_frames(http: httpx.Client, redis: Redis) -> None:
    """A job's frames may be tens of megabytes, which the answer does not contain."""
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(http.post, "/generate", json={}, headers={"Prefer": "wait=20"})
        wait_until(lambda: jobs_in(redis) == 1)
        redis.config_resetstat()
        [record], _ = Records(redis).page(None, 1)
        attempt = Records(redis).begin(record.id)
        assert attempt is not None
        for step in range(1, 11):
            Records(redis).frame(attempt, frame(attempt, step))
        Records(redis).finish(attempt, Done(images=1, seconds=0.1))
        assert answer.result(30).status_code == 200
    assert not {"cmdstat_xrange", "cmdstat_xrevrange"} & redis.info("commandstats").keys()


def test_wait_is_answered_202_when_its_time_is_over(http: httpx.Client) -> None:
    began = time.monotonic()
    response = http.post("/generate", json={}, headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 10
    assert response.status_code == 202
    assert response.json()["status"] == "queued"


@pytest.mark.parametrize("prefer", ["", "respond-async", "await=10", "wait=0", "wait=-5", "wait=soon"])
def test_without_a_valid_wait_the_answer_is_immediate(http: httpx.Client, prefer: str) -> None:
    response = http.post("/generate", json={}, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert response.elapsed.total_seconds() < 5
    assert "preference-applied" not in response.headers
