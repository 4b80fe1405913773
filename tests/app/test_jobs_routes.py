"""GET /jobs, GET /jobs/{job_id}, DELETE /jobs/{job_id}."""

from __future__ import annotations

import httpx
import pytest
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.registry import CanceledJobRegistry

from jobs import keys
from jobs.records import Records
from tests.app.http_helpers import assert_problem, generate
from tests.jobs.factories import queued, running

UNKNOWN_ID = "f" * 32


def test_view_follows_a_jobs_progress(http: httpx.Client, redis: Redis) -> None:
    view, records = generate(http, count=2, steps=10), Records(redis)
    attempt = records.begin(view["id"])
    assert attempt is not None
    records.progress(attempt, 15)
    records.store(attempt, {1: b"png"})
    view = http.get(view["urls"]["job"]).json()
    assert (view["status"], view["position"], view["attempt"]) == ("running", None, 1)
    assert view["progress"] == {"images_done": 1, "images": 2, "steps_done": 15, "steps": 20}
    assert view["urls"]["images"] == [f"/jobs/{view['id']}/images/1.png"]
    assert view["started_at"] >= view["created_at"]
    records.fail(view["id"], "no room", attempt)
    view = http.get(view["urls"]["job"]).json()
    assert (view["status"], view["error"], view["eta_seconds"]) == ("failed", "no room", None)
    assert view["ended_at"] >= view["started_at"]


def test_position_drops_when_a_job_ahead_ends(http: httpx.Client, redis: Redis) -> None:
    first, second = generate(http), generate(http)
    assert second["position"] == 1
    Records(redis).cancel(first["id"])
    assert http.get(second["urls"]["job"]).json()["position"] == 0


@pytest.mark.parametrize("path", ["", "/events", "/images/0.png", "/grid.png", "/process.gif", "/images.zip"])
def test_unknown_job_is_404(http: httpx.Client, path: str) -> None:
    assert_problem(http.get(f"/jobs/{UNKNOWN_ID}{path}"), 404)
    assert_problem(http.get(f"/jobs/not-even-an-id%00%ff{path}"), 404)


def test_pages_follow_the_cursor(http: httpx.Client, redis: Redis) -> None:
    jobs = [queued(redis).id for _ in range(7)]
    found, cursor = [], None
    for size in (3, 3, 1):
        query: dict[str, str | int] = {"limit": 3} if cursor is None else {"limit": 3, "cursor": cursor}
        page = http.get("/jobs", params=query).json()
        assert len(page["jobs"]) == size
        found += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert found == jobs[::-1]


def test_default_page_has_20_jobs(http: httpx.Client, redis: Redis) -> None:
    for _ in range(21):
        queued(redis)
    assert len(http.get("/jobs").json()["jobs"]) == 20


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("cursor=last", "cursor"),
        ("cursor=", "cursor"),
        (f"cursor=nan:{UNKNOWN_ID}", "cursor"),
        (f"cursor=1e9:{UNKNOWN_ID}", "cursor"),
        (f"cursor=1.5:{UNKNOWN_ID}%0a", "cursor"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
    ],
)
def test_invalid_cursor_or_limit_is_422(http: httpx.Client, query: str, named: str) -> None:
    assert_problem(http.get(f"/jobs?{query}"), 422, named)


def test_every_given_cursor_is_accepted(http: httpx.Client, redis: Redis) -> None:
    """Creation times may have any precision."""
    for created_at in (1_763_647_200.0, 1_763_647_200.1234567, 1_763_647_200.12, 17.0, 1_763_647_200.0000002):
        queued(redis, created_at=created_at)
    cursor = ""
    for _ in range(4):
        cursor = http.get(f"/jobs?limit=1{cursor and '&cursor='}{cursor}").raise_for_status().json()["next_cursor"]


def test_canceled_queued_job_leaves_the_rq_queue(http: httpx.Client, redis: Redis) -> None:
    kept, view = generate(http), generate(http)
    answer = http.delete(view["urls"]["job"])
    assert answer.status_code == 200
    assert answer.json()["status"] == "canceled"
    queue = Queue(keys.QUEUE, connection=redis)
    assert queue.job_ids == [kept["id"]], "only this job is canceled"
    assert Job.fetch(view["id"], redis).get_status() is JobStatus.CANCELED
    assert CanceledJobRegistry(queue=queue).get_job_ids() == [view["id"]]
    assert http.get(kept["urls"]["job"]).json()["status"] == "queued"


def test_canceled_running_job_is_lost_to_its_worker(http: httpx.Client, redis: Redis) -> None:
    attempt = running(redis)
    assert http.delete(f"/jobs/{attempt.job_id}").json()["status"] == "canceled"
    assert Records(redis).lost([attempt]) == [attempt]


def test_second_cancel_is_409(http: httpx.Client) -> None:
    view = generate(http)
    assert http.delete(view["urls"]["job"]).status_code == 200
    assert_problem(http.delete(view["urls"]["job"]), 409)
    assert_problem(http.delete(f"/jobs/{UNKNOWN_ID}"), 404)
    assert http.get(view["urls"]["job"]).json()["status"] == "canceled"


def test_job_unknown_to_rq_can_be_canceled(http: httpx.Client, redis: Redis) -> None:
    assert http.delete(f"/jobs/{queued(redis).id}").json()["status"] == "canceled"


def test_cursor_with_non_ascii_digits_is_422(http: httpx.Client) -> None:
    assert_problem(http.get("/jobs", params={"cursor": "\N{ARABIC-INDIC DIGIT THREE}:" + "0" * 32}), 422, "cursor")


def test_page_of_jobs_reads_the_queue_once(http: httpx.Client, redis: Redis) -> None:
    for _ in range(5):
        generate(http)
    before = redis.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert [job["position"] for job in http.get("/jobs").json()["jobs"]] == [4, 3, 2, 1, 0]
    assert redis.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
