"""POST /generate: what is accepted and how it is answered; what is refused and how that is said."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis
from rq import Queue
from rq.job import Job, JobStatus

from jobs import keys, models
from jobs.pace import Pace
from jobs.records import Records
from jobs.schema import Done
from jobs.start_image import START_FORMATS
from tests.app.web import assert_problem, generate, serving, wait_until
from tests.jobs.made import CARD, card


def jobs_in(redis: Redis) -> int:
    return int(redis.zcard(keys.JOBS))


# Accepted


def test_an_empty_object_is_answered_with_everything_filled_in(http: httpx.Client, redis: Redis) -> None:
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


def test_the_urls_that_are_given_lead_somewhere(http: httpx.Client) -> None:
    view = generate(http, count=2)
    assert http.get(view["urls"]["job"]).json() == view


def test_the_largest_seed_is_kept_to_the_last_digit(http: httpx.Client) -> None:
    answer = http.post("/generate", json={"seed": 2**64 - 1})
    assert '"seed":18446744073709551615' in answer.text


def test_the_first_model_by_name_is_the_default(http: httpx.Client, redis: Redis) -> None:
    models.publish(redis, "other", [card(name="a-first"), card(name="z-last")], {}, alive_seconds=600)
    assert generate(http)["request"]["model"] == "a-first"
    assert generate(http, model="z-last")["request"]["model"] == "z-last"


def test_the_job_is_rqs_job_of_the_same_id(http: httpx.Client, redis: Redis) -> None:
    view = generate(http)
    assert Queue(keys.QUEUE, connection=redis).job_ids == [view["id"]]
    job = Job.fetch(view["id"], redis)
    assert job.get_status() is JobStatus.QUEUED
    assert job.retries_left is not None
    assert job.retries_left >= 2, "a crash is survived"
    assert job.timeout == -1


def test_jobs_wait_in_the_order_in_which_they_came(http: httpx.Client, redis: Redis) -> None:
    views = [generate(http) for _ in range(3)]
    assert [view["position"] for view in views] == [0, 1, 2]
    assert Queue(keys.QUEUE, connection=redis).job_ids == [view["id"] for view in views]


ROW_BY_ROW = Pace(rows=[1, 100], seconds=[0.01, 1.0], slots=100).model_dump_json()  # a hundred row-steps a second


def test_the_estimate_is_the_work_before_and_of_the_job_at_the_models_pace(http: httpx.Client, redis: Redis) -> None:
    redis.hset(keys.PACES, "tiny", ROW_BY_ROW)
    assert generate(http, count=2, steps=50, label=0, guidance_scale=1)["eta_seconds"] == pytest.approx(1.0)
    guided = generate(http, count=1, steps=50, label=0, guidance_scale=2)
    assert guided["eta_seconds"] == pytest.approx(2.0), "guidance takes two evaluations a step"


def test_whoever_waits_comes_before_the_class_batch_and_after_their_own(http: httpx.Client, redis: Redis) -> None:
    asked = ["batch", "interactive", "batch", "interactive", "interactive"]
    ids = [generate(http, priority=priority)["id"] for priority in asked]
    order = [ids[1], ids[3], ids[4], ids[0], ids[2]]
    assert Queue(keys.QUEUE, connection=redis).job_ids == order
    positions = {job: http.get(f"/jobs/{job}").json()["position"] for job in ids}
    assert sorted(ids, key=positions.__getitem__) == order
    assert sorted(positions.values()) == [0, 1, 2, 3, 4]


def test_a_job_that_was_just_taken_holds_nobody_up(http: httpx.Client, redis: Redis) -> None:
    """It is in the queue no more, though its record still says that it waits."""
    ids = [generate(http, priority="batch")["id"] for _ in range(3)]
    Queue(keys.QUEUE, connection=redis).remove(ids[0])
    hurried = generate(http)["id"]
    assert Queue(keys.QUEUE, connection=redis).job_ids == [hurried, ids[1], ids[2]]


# Refused


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ({"model": "huge"}, "model", "tiny"),
        ({"sampler": "euler"}, "sampler", "ddpm, ddpm_beta"),
        ({"label": 5}, "label", "0 to 3"),
        ({"label": "cat"}, "label", "zero, one, two, three"),
        ({"label": True}, "label", ""),
        ({"labels": [0, "cat"], "count": 2}, "labels", "zero, one, two, three"),
        ({"labels": [0], "count": 2}, "labels", "2"),
        ({"count": 0}, "count", "1"),
        ({"count": 101}, "count", "100"),
        ({"count": "3"}, "count", "integer"),
        ({"steps": 1001}, "steps", "1000"),
        ({"steps": 0}, "steps", "1"),
        ({"seed": -1}, "seed", "0"),
        ({"seed": 2**64}, "seed", "18446744073709551615"),
        ({"guidance_scale": 101}, "guidance_scale", "100"),
        ({"frames": 101}, "frames", "100"),
        ({"sede": 7}, "sede", ""),
    ],
)
def test_a_field_that_cannot_be_is_named_with_what_can(
    http: httpx.Client, redis: Redis, body: dict[str, Any], field: str, allowed: str
) -> None:
    assert_problem(http.post("/generate", json=body), 422, field, allowed)
    assert jobs_in(redis) == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"model"', b"7", b'{"count": 1}}', b"\x00"])
def test_a_body_that_is_no_json_object_is_refused_as_such(http: httpx.Client, redis: Redis, body: bytes) -> None:
    answer = http.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, "body", "a JSON object")
    assert jobs_in(redis) == 0


@pytest.mark.parametrize("body", [b'{"model": "\xe9"}', b'{"seed": ' + b"1" * 5000 + b"}", b"[" * 100_000])
def test_a_body_that_the_parser_gives_up_on_is_refused_with_what_may_be(http: httpx.Client, body: bytes) -> None:
    answer = http.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400)
    assert "JSON object in UTF-8" in answer.json()["detail"]


def test_no_redirect_repeats_the_host_that_a_client_claims(http: httpx.Client) -> None:
    assert_problem(http.get("/jobs/", headers={"Host": "elsewhere.example"}), 404)


@pytest.mark.parametrize(
    "content_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/ld+json"],
)
def test_what_a_form_elsewhere_could_post_is_refused(
    http: httpx.Client, redis: Redis, content_type: str | None
) -> None:
    """These need no preflight in a browser (Fetch standard, section 2.2.2), so any page could send them."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    assert_problem(http.post("/generate", content=b'{"count":1}', headers=headers), 415)
    assert_problem(http.post("/generate", content=b"", headers=headers), 415)
    assert jobs_in(redis) == 0


def test_a_parameter_of_the_media_type_does_no_harm(http: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert http.post("/generate", content=b"{}", headers=headers).status_code == 202


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(http: httpx.Client, redis: Redis, chunked: bool) -> None:
    large = b'{"model": "' + b"x" * (1 << 18) + b'"}'

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(large), 1 << 14):
            yield large[start : start + (1 << 14)]

    headers = {"Content-Type": "application/json"}
    assert_problem(http.post("/generate", content=chunks() if chunked else large, headers=headers), 413)
    assert jobs_in(redis) == 0


def test_a_body_of_just_the_allowed_size_is_read(http: httpx.Client) -> None:
    body = b'{"count": 1}'.ljust(1 << 18)
    assert http.post("/generate", content=body, headers={"Content-Type": "application/json"}).status_code == 202


def test_without_any_model_the_service_is_not_there_yet(http: httpx.Client, redis: Redis) -> None:
    redis.flushall()
    answer = http.post("/generate", json={})
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1


def test_jobs_are_taken_while_workers_are_away_for_a_moment(http: httpx.Client, redis: Redis) -> None:
    redis.delete(keys.worker("worker"))
    assert http.get("/readyz").status_code == 503
    generate(http)


def test_a_full_queue_says_when_to_come_back(redis: Redis, redis_url: str) -> None:
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    redis.hset(keys.PACES, "tiny", Pace(rows=[1, 100], seconds=[1.0, 100.0], slots=100).model_dump_json())
    with serving(redis_url=redis_url, max_queued=2) as url, httpx.Client(base_url=url, timeout=30) as http:
        for _ in range(2):
            generate(http, steps=30, guidance_scale=1)
        answer = http.post("/generate", json={})
        assert_problem(answer, 429)
        assert int(answer.headers["retry-after"]) == 30, "60 s of work for two jobs: one leaves in half of that"
        assert jobs_in(redis) == 2
        redis.delete(keys.PACES)
        assert int(http.post("/generate", json={}).headers["retry-after"]) == 30, "no pace is known"


# The same again


def test_the_same_key_replays_the_first_answer(http: httpx.Client, redis: Redis) -> None:
    headers = {"Idempotency-Key": "order 66"}
    first = http.post("/generate", json={"count": 2}, headers=headers)
    again = http.post("/generate", content=b'{ "count" : 2 }', headers=headers | {"Content-Type": "application/json"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json(), "the random seed too"
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert jobs_in(redis) == 1


def test_the_same_key_with_another_body_is_refused(http: httpx.Client, redis: Redis) -> None:
    headers = {"Idempotency-Key": "order 66"}
    generate(http, headers, count=2)
    assert_problem(http.post("/generate", json={"count": 3}, headers=headers), 422, "Idempotency-Key", "a new key")
    assert jobs_in(redis) == 1


def test_other_keys_are_other_jobs(http: httpx.Client, redis: Redis) -> None:
    ids = {generate(http, {"Idempotency-Key": key}, seed=1)["id"] for key in ("a", "b", "A")}
    assert len(ids) == jobs_in(redis) == 3


def test_a_refused_request_does_not_use_its_key_up(http: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k"}
    assert_problem(http.post("/generate", json={"model": "huge"}, headers=headers), 422, "model")
    generate(http, headers, count=1)


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_is_of_a_sensible_length(http: httpx.Client, key: str) -> None:
    answer = http.post("/generate", json={}, headers={"Idempotency-Key": key})
    assert_problem(answer, 422, "idempotency-key")


def test_twenty_at_once_with_one_key_are_one_job(http: httpx.Client, redis: Redis) -> None:
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


# Waited for


@pytest.mark.parametrize("prefer", ["wait=20", "respond-async, wait=20", "Wait = 20", 'wait="20"'])
def test_whoever_waits_is_answered_as_soon_as_the_job_ends(http: httpx.Client, redis: Redis, prefer: str) -> None:
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


def test_whoever_waits_in_vain_is_answered_after_that_time(http: httpx.Client) -> None:
    began = time.monotonic()
    response = http.post("/generate", json={}, headers={"Prefer": "wait=1"})
    assert 1 <= time.monotonic() - began < 10
    assert response.status_code == 202
    assert response.json()["status"] == "queued"


@pytest.mark.parametrize("prefer", ["", "respond-async", "await=10", "wait=0", "wait=-5", "wait=soon"])
def test_whoever_does_not_wait_is_answered_at_once(http: httpx.Client, prefer: str) -> None:
    response = http.post("/generate", json={}, headers={"Prefer": prefer})
    assert response.status_code == 202
    assert response.elapsed.total_seconds() < 5
    assert "preference-applied" not in response.headers


@pytest.mark.parametrize("field", ["model", "sampler", "label"])
def test_what_utf8_cannot_say_is_a_problem_too(http: httpx.Client, field: str) -> None:
    body = f'{{"{field}": "\\ud800"}}'
    answer = http.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, field)


def test_an_error_does_not_echo_a_large_body(http: httpx.Client) -> None:
    for body in ({f"unknown{i}": 0 for i in range(10_000)}, {"model": "x" * 200_000}):
        answer = http.post("/generate", json=body)
        assert answer.status_code == 422
        assert 1 <= len(answer.json()["errors"]) <= 10
        assert len(answer.content) < 20_000


# Begun from an image


def picture(width: int, height: int, format: str = "PNG") -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, format)
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("format", START_FORMATS)
def test_a_job_may_begin_from_a_picture_of_the_models_size(http: httpx.Client, format: str) -> None:
    image = picture(8, 8, format)
    response = http.post("/generate", json={"image": image, "strength": 0.5})
    assert response.status_code == 202
    request = response.json()["request"]
    assert (request["start"], request["steps"]) == (500, 500)
    assert request["image"] == hashlib.sha256(base64.b64decode(image)).hexdigest(), "a view names it"


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (picture(8, 9), "of 8 × 9 pixels"),
        (picture(4000, 4000), "of 4000 × 4000 pixels"),  # a small file of a large picture
        (picture(8, 8)[:40], "cannot be read"),
        (picture(8, 8, "TIFF"), "cannot be read"),
        ("not base64!", "cannot be read"),
        ("", "cannot be read"),
        (base64.b64encode(b"<svg/>").decode(), "cannot be read"),
    ],
    ids=["oblong", "large", "cut-off", "tiff", "no-base64", "empty", "svg"],
)
def test_what_no_model_can_begin_from_is_refused(http: httpx.Client, image: str, said: str, redis: Redis) -> None:
    response = http.post("/generate", json={"image": image})
    assert_problem(response, 422, "image", "8 × 8 pixels")
    assert said in response.json()["detail"]
    assert jobs_in(redis) == 0
