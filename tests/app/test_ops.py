"""Health, readiness, numbers, models, the page and its headers; and Redis being away."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from jobs import keys, models
from jobs.pace import Pace
from jobs.records import Records
from jobs.schema import Done
from tests.app.web import assert_problem, generate, serving
from tests.jobs.made import CARD, card, queued, running
from tests.jobs.mortal import MortalRedis

# Health


def test_ready_is_a_live_worker_with_a_model(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ready", "workers": 1, "models": 1}


def test_without_a_live_worker_the_service_is_not_ready(http: httpx.Client, redis: Redis) -> None:
    redis.delete(keys.worker("worker"))
    answer = http.get("/readyz")
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


def test_without_a_model_the_service_is_not_ready(http: httpx.Client, redis: Redis) -> None:
    models.publish(redis, "worker", [], {}, alive_seconds=10)
    assert_problem(http.get("/readyz"), 503)


def test_health_asks_nobody_else(http: httpx.Client, redis: Redis) -> None:
    redis.flushall()
    assert http.get("/healthz").status_code == 200


# Redis away


@pytest.fixture
def orphaned(mortal_redis: MortalRedis) -> Iterator[httpx.Client]:
    """An app that has lost its Redis, after it had accepted a job."""
    with (
        serving(redis_url=mortal_redis.url) as url,
        httpx.Client(base_url=url, timeout=30) as http,
        Redis.from_url(mortal_redis.url) as redis,
    ):
        models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
        generate(http)
        mortal_redis.kill()
        yield http


def test_without_redis_every_answer_says_so_and_comes_back_with_it(
    orphaned: httpx.Client, mortal_redis: MortalRedis
) -> None:
    for path in ("/jobs", f"/jobs/{'a' * 32}", f"/jobs/{'a' * 32}/events", "/models", "/readyz", "/metrics"):
        answer = orphaned.get(path)
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
    assert_problem(orphaned.post("/generate", json={}), 503)
    assert orphaned.get("/healthz").status_code == 200
    assert orphaned.get("/").status_code == 200
    mortal_redis.start()
    assert len(orphaned.get("/jobs").json()["jobs"]) == 1, "the job that was accepted, and no other"
    generate(orphaned)


# Numbers


def test_metrics_are_prometheus_and_true(http: httpx.Client, redis: Redis) -> None:
    records = Records(redis)
    queued(redis, count=2, steps=10, labels=[4, 4])
    attempt = running(redis, count=4, steps=10, labels=[0, 0, 0, 0])
    records.progress(attempt, 20)
    done = running(redis)
    records.store(done, {0: b"png", 1: b"png"})
    records.finish(done, Done(images=2, seconds=1.0))
    records.cancel(queued(redis).id)
    redis.hset(keys.PACES, "tiny", Pace(rows=[2, 25], seconds=[1.0, 2.0], slots=25).model_dump_json())
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert samples[("noisemill_jobs_active", "queued")] == 1
    assert samples[("noisemill_jobs_active", "running")] == 1
    assert samples[("noisemill_jobs_ended_total", "finished")] == 1
    assert samples[("noisemill_jobs_ended_total", "canceled")] == 1
    assert samples[("noisemill_jobs_ended_total", "failed")] == 0
    assert samples[("noisemill_images_total",)] == 2
    assert samples[("noisemill_row_steps_left",)] == 2 * 10 + 2 * 4 * 10 / 2
    assert samples[("noisemill_row_steps_per_second", "tiny")] == 12.5
    assert samples[("noisemill_workers",)] == 1
    assert samples[("noisemill_redis_memory_bytes",)] > 1 << 16


# Models


def test_models_are_shown_as_workers_published_them(http: httpx.Client, redis: Redis) -> None:
    other = card(name="other", metrics={"recognised": 0.98})
    models.publish(redis, "another", [other], {}, alive_seconds=600)
    assert http.get("/models").json() == {"models": [other.model_dump(), CARD.model_dump()]}
    assert http.get("/models/other").json() == other.model_dump()
    assert_problem(http.get("/models/none"), 404)


def test_a_models_figures_are_pictures(http: httpx.Client, redis: Redis) -> None:
    drawn = card(name="drawn", figures={"loss.png": "1" * 64, "process.gif": "2" * 64})
    models.publish(redis, "another", [drawn], {"1" * 64: b"a curve", "2" * 64: b"a film"}, alive_seconds=600)
    curve, film = (http.get(f"/models/drawn/figures/{name}") for name in drawn.figures)
    assert (curve.content, curve.headers["content-type"]) == (b"a curve", "image/png")
    assert (film.content, film.headers["content-type"]) == (b"a film", "image/gif")
    missing = http.get("/models/drawn/figures/other.png")
    assert_problem(missing, 404)
    assert "loss.png, process.gif" in missing.text
    assert_problem(http.get("/models/none/figures/loss.png"), 404)


# The door


@pytest.mark.parametrize("path", ["/nothing", "/static/nothing.js", "/static/%2e%2e/main.py", "/static//etc/passwd"])
def test_a_path_that_leads_nowhere_is_a_problem_too(http: httpx.Client, path: str) -> None:
    assert_problem(http.get(path), 404)


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", "/generate", "POST"), ("PUT", "/jobs", "GET")])
def test_another_method_is_refused_with_those_there_are(
    http: httpx.Client, method: str, path: str, allowed: str
) -> None:
    answer = http.request(method, path)
    assert_problem(answer, 405)
    assert allowed in answer.headers["allow"].split(", ")


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/nothing", "/jobs", "/docs", "/generate"])
def test_head_is_answered_as_get_without_its_body(http: httpx.Client, path: str) -> None:
    whole, head = http.get(path), http.head(path)
    assert head.content == b""
    assert (head.status_code, head.headers) == (whole.status_code, {**whole.headers, "date": head.headers["date"]})


def test_the_head_of_a_stream_comes_at_once(http: httpx.Client) -> None:
    job = generate(http)
    head = http.head(job["urls"]["events"])  # the job never ends
    assert head.headers["content-type"].startswith("text/event-stream")
    assert http.get("/healthz").status_code == 200, "over the same connection"


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/healthz", "/nothing", "/jobs", "/docs"])
def test_every_answer_is_taken_for_what_it_is(http: httpx.Client, path: str) -> None:
    headers = http.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"


def test_the_page_loads_nothing_but_its_own(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = dict(part.strip().partition(" ")[::2] for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert not any("unsafe" in value or "*" in value for value in policy.values())
    for attribute in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        assert http.get(attribute).status_code == 200, attribute
    assert not re.search(r"<script(?![^>]*\bsrc=)", page.text), "an inline script would not run"
    assert not re.search(r"\bon[a-z]+=|style=", page.text), "nor would an inline handler or style"


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
def test_the_api_pages_need_nothing_from_elsewhere(http: httpx.Client, path: str) -> None:
    named = re.findall(r'(?:src|href)="([^"]+)"', http.get(path).text)
    assert any(address.endswith(".js") for address in named)
    for address in named:
        assert address.startswith("/")
        assert http.get(address).status_code == 200, address


def test_no_page_elsewhere_is_told_that_it_may(http: httpx.Client) -> None:
    preflight = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "POST"}
    answer = http.options("/generate", headers=preflight)
    assert "access-control-allow-origin" not in answer.headers
    assert "access-control-allow-origin" not in http.get("/jobs", headers=preflight).headers
