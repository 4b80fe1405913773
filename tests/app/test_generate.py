"""POST /generate: accepted requests, their order in the queue, and the limits of the queue."""

from __future__ import annotations

import httpx
import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from jobs import keys, models
from jobs.pace import Pace
from tests.app.http_helpers import assert_problem, generate, jobs_in, serving
from tests.jobs.factories import CARD, card


def test_empty_request_is_202_with_every_default_filled_in(http: httpx.Client, redis: Redis) -> None:
    response = http.post("/generate", json={})
    assert response.status_code == 202
    view = response.json()
    assert response.headers["location"] == f"/jobs/{view['id']}" == view["urls"]["job"]
    assert (view["status"], view["position"], view["eta_seconds"]) == ("queued", 0, None)
    request = view["request"]
    assert 0 <= request.pop("seed") < 2**53
    assert request == {
        "model": "tiny",
        "digest": CARD.digest,
        "count": 1,
        "first_index": 0,
        "steps": 1000,
        "sampler": "ddpm",
        "spacing": "trailing",
        "eta": None,
        "thresholding": "static",
        "start": 1000,
        "image": None,
        "labels": [4],
        "null_class": 4,
        "guidance_scale": 1.5,
        "frames": 20,
        "priority": "interactive",
    }
    assert view["progress"] == {"images_done": 0, "images": 1, "steps_done": 0, "steps": 1000}
    assert view["urls"] | {"images": []} == {
        "job": f"/jobs/{view['id']}",
        "events": f"/jobs/{view['id']}/events",
        "images": [],
        "grid": None,
        "process": None,
        "archive": None,
    }


def test_job_url_of_the_answer_returns_the_same_view(http: httpx.Client) -> None:
    view = generate(http, count=2)
    assert http.get(view["urls"]["job"]).json() == view


def test_64_bit_seed_is_kept_exactly(http: httpx.Client) -> None:
    answer = http.post("/generate", json={"seed": 2**64 - 1})
    assert '"seed":18446744073709551615' in answer.text


def test_first_model_by_name_is_the_default(http: httpx.Client, redis: Redis) -> None:
    models.publish(redis, "other", [card(name="a-first"), card(name="z-last")], {}, alive_seconds=600)
    assert generate(http)["request"]["model"] == "a-first"
    assert generate(http, model="z-last")["request"]["model"] == "z-last"


def test_rq_job_has_the_same_id_retries_and_no_timeout(http: httpx.Client, redis: Redis) -> None:
    view = generate(http)
    assert Queue(keys.QUEUE, connection=redis).job_ids == [view["id"]]
    job = Job.fetch(view["id"], redis)
    assert job.get_status() is JobStatus.QUEUED
    assert job.retries_left is not None
    assert job.retries_left >= 2, "jobs survive crashes of workers"
    assert job.timeout == -1


def test_jobs_are_queued_in_order_of_arrival(http: httpx.Client, redis: Redis) -> None:
    views = [generate(http) for _ in range(3)]
    assert [view["position"] for view in views] == [0, 1, 2]
    assert Queue(keys.QUEUE, connection=redis).job_ids == [view["id"] for view in views]


ROW_BY_ROW = Pace(rows=[1, 100], seconds=[0.01, 1.0], slots=100).model_dump_json()  # 100 row-steps/s


def test_eta_is_the_queued_work_at_the_models_pace(http: httpx.Client, redis: Redis) -> None:
    redis.hset(keys.PACES, "tiny", ROW_BY_ROW)
    assert generate(http, count=2, steps=50, label=0, guidance_scale=1)["eta_seconds"] == pytest.approx(1.0)
    guided = generate(http, count=1, steps=50, label=0, guidance_scale=2)
    assert guided["eta_seconds"] == pytest.approx(2.0), "guidance takes two evaluations a step"


def test_interactive_jobs_are_queued_before_batch_jobs(http: httpx.Client, redis: Redis) -> None:
    priorities = ["batch", "interactive", "batch", "interactive", "interactive"]
    ids = [generate(http, priority=priority)["id"] for priority in priorities]
    order = [ids[1], ids[3], ids[4], ids[0], ids[2]]
    assert Queue(keys.QUEUE, connection=redis).job_ids == order
    positions = {job: http.get(f"/jobs/{job}").json()["position"] for job in ids}
    assert sorted(ids, key=positions.__getitem__) == order
    assert sorted(positions.values()) == [0, 1, 2, 3, 4]


def test_interactive_job_skips_a_batch_job_that_was_just_dequeued(http: httpx.Client, redis: Redis) -> None:
    """It has left the queue while its record is still `queued`."""
    ids = [generate(http, priority="batch")["id"] for _ in range(3)]
    Queue(keys.QUEUE, connection=redis).remove(ids[0])
    interactive = generate(http)["id"]
    assert Queue(keys.QUEUE, connection=redis).job_ids == [interactive, ids[1], ids[2]]


def test_without_any_model_generate_is_503_with_retry_after(http: httpx.Client, redis: Redis) -> None:
    redis.flushall()
    answer = http.post("/generate", json={})
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


def test_jobs_are_accepted_while_no_worker_is_alive(http: httpx.Client, redis: Redis) -> None:
    redis.delete(keys.worker("worker"))
    assert http.get("/readyz").status_code == 503
    generate(http)


def test_queue_full_returns_429_with_retry_after(redis: Redis, redis_url: str) -> None:
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    redis.hset(keys.PACES, "tiny", Pace(rows=[1, 100], seconds=[1.0, 100.0], slots=100).model_dump_json())
    with serving(redis_url=redis_url, max_queued=2) as url, httpx.Client(base_url=url, timeout=30) as http:
        for _ in range(2):
            generate(http, steps=30, guidance_scale=1)
        answer = http.post("/generate", json={})
        assert_problem(answer, 429)
        assert int(answer.headers["retry-after"]) == 30, "60 s of work for two jobs: the first leaves after half of it"
        assert jobs_in(redis) == 2
        redis.delete(keys.PACES)
        assert int(http.post("/generate", json={}).headers["retry-after"]) == 30, "no pace is known"
