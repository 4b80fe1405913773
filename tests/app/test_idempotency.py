"""Idempotency-Key: a repeated request finds the job that the first one queued."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from redis import Redis
from rq import Queue

from jobs import keys
from jobs.store import RedisStore
from tests.app.http_helpers import assert_problem, generate, jobs_in


def test_same_key_replays_the_first_answer(http: httpx.Client, redis: Redis) -> None:
    headers = {"Idempotency-Key": "order 66"}
    first = http.post("/generate", json={"count": 2}, headers=headers)
    again = http.post("/generate", content=b'{ "count" : 2 }', headers=headers | {"Content-Type": "application/json"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json(), "the random seed too"
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert jobs_in(redis) == 1


def test_same_key_with_another_body_is_422(http: httpx.Client, redis: Redis) -> None:
    headers = {"Idempotency-Key": "order 66"}
    generate(http, headers, count=2)
    assert_problem(http.post("/generate", json={"count": 3}, headers=headers), 422, "Idempotency-Key", "a new key")
    assert jobs_in(redis) == 1


def test_different_keys_queue_different_jobs(http: httpx.Client, redis: Redis) -> None:
    ids = {generate(http, {"Idempotency-Key": key}, seed=1)["id"] for key in ("a", "b", "A")}
    assert len(ids) == jobs_in(redis) == 3


def test_refused_request_leaves_its_key_unused(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k"}
    assert_problem(http.post("/generate", json={"model": "huge"}, headers=headers), 422, "model")
    generate(http, headers, count=1)


@pytest.mark.parametrize("body", [{"count": 2}, {"count": 3}], ids=["same-body", "other-body"])
def test_key_of_a_deleted_job_queues_a_new_one(http: httpx.Client, redis: Redis, body: dict[str, int]) -> None:
    """If Redis is full, `sweep` deletes jobs long before their keys expire."""
    headers = {"Idempotency-Key": "swept"}
    first = generate(http, headers, count=2)
    RedisStore(redis).delete([first["id"]])
    second = generate(http, headers, **body)
    assert second["id"] != first["id"]
    assert generate(http, headers, **body)["id"] == second["id"], "the key belongs to the new job"


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_key_has_1_to_255_characters(http: httpx.Client, key: str) -> None:
    answer = http.post("/generate", json={}, headers={"Idempotency-Key": key})
    assert_problem(answer, 422, "Idempotency-Key", "1 to 255 characters")


def test_twenty_simultaneous_requests_with_one_key_queue_one_job(http: httpx.Client, redis: Redis) -> None:
    together = threading.Barrier(20)

    def post(_: int) -> httpx.Response:
        together.wait(30)
        return http.post("/generate", json={"count": 1}, headers={"Idempotency-Key": "once"})

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(post, range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert jobs_in(redis) == len(Queue(keys.QUEUE, connection=redis)) == 1
