"""Health, readiness, metrics and models; and every route without Redis."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from jobs import keys, models
from jobs.pace import Pace
from jobs.records import Records
from jobs.schema import Done
from tests.app.http_helpers import assert_problem, generate, serving
from tests.jobs.factories import CARD, card, queued, running
from tests.jobs.killable_redis import KillableRedis

# Health


def test_readyz_is_200_with_a_live_worker_and_a_model(http: httpx.Client) -> None:
    assert http.get("/readyz").json() == {"status": "ready", "workers": 1, "models": 1}


def test_readyz_without_a_live_worker_is_503(http: httpx.Client, redis: Redis) -> None:
    redis.delete(keys.worker("worker"))
    answer = http.get("/readyz")
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


def test_readyz_without_a_model_is_503(http: httpx.Client, redis: Redis) -> None:
    models.publish(redis, "worker", [], {}, alive_seconds=10)
    assert_problem(http.get("/readyz"), 503)


def test_healthz_does_not_need_redis(http: httpx.Client, redis: Redis) -> None:
    redis.flushall()
    assert http.get("/healthz").status_code == 200


# Without Redis


@pytest.fixture
def app_without_redis(killable_redis: KillableRedis) -> Iterator[httpx.Client]:
    """An app whose Redis was killed after it had accepted a job."""
    with (
        serving(redis_url=killable_redis.url) as url,
        httpx.Client(base_url=url, timeout=30) as http,
        Redis.from_url(killable_redis.url) as redis,
    ):
        models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
        generate(http)
        killable_redis.kill()
        yield http


def test_without_redis_every_route_is_503_and_recovers(
    app_without_redis: httpx.Client, killable_redis: KillableRedis
) -> None:
    for path in ("/jobs", f"/jobs/{'a' * 32}", f"/jobs/{'a' * 32}/events", "/models", "/readyz", "/metrics"):
        answer = app_without_redis.get(path)
        assert_problem(answer, 503)
        assert int(answer.headers["retry-after"]) >= 1
    assert_problem(app_without_redis.post("/generate", json={}), 503)
    assert app_without_redis.get("/healthz").status_code == 200
    assert app_without_redis.get("/").status_code == 200
    killable_redis.start()
    assert len(app_without_redis.get("/jobs").json()["jobs"]) == 1, "the accepted job alone"
    generate(app_without_redis)


# Metrics


def test_metrics_match_the_jobs_in_redis(http: httpx.Client, redis: Redis) -> None:
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


def test_models_are_the_published_cards(http: httpx.Client, redis: Redis) -> None:
    other = card(name="other", metrics={"recognised": 0.98})
    models.publish(redis, "another", [other], {}, alive_seconds=600)
    assert http.get("/models").json() == {"models": [other.model_dump(), CARD.model_dump()]}
    assert http.get("/models/other").json() == other.model_dump()
    assert_problem(http.get("/models/none"), 404)


def test_figures_are_png_or_gif(http: httpx.Client, redis: Redis) -> None:
    drawn = card(name="drawn", figures={"loss.png": "1" * 64, "process.gif": "2" * 64})
    models.publish(redis, "another", [drawn], {"1" * 64: b"a curve", "2" * 64: b"an animation"}, alive_seconds=600)
    curve, animation = (http.get(f"/models/drawn/figures/{name}") for name in drawn.figures)
    assert (curve.content, curve.headers["content-type"]) == (b"a curve", "image/png")
    assert (animation.content, animation.headers["content-type"]) == (b"an animation", "image/gif")
    missing = http.get("/models/drawn/figures/other.png")
    assert_problem(missing, 404)
    assert "loss.png, process.gif" in missing.text
    assert_problem(http.get("/models/none/figures/loss.png"), 404)
