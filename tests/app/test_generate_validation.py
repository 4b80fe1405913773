"""POST /generate: refused fields, in plain English."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from redis import Redis

from app.expected import expected
from jobs.schema import GenerateRequest
from tests.app.http_helpers import assert_problem, jobs_in


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ({"model": "huge"}, "model", "tiny"),
        ({"sampler": "euler"}, "sampler", "ddpm, ddpm_beta"),
        ({"label": 5}, "label", "0 to 3"),
        ({"label": "cat"}, "label", "zero, one, two, three"),
        ({"labels": [0, "cat"], "count": 2}, "labels", "zero, one, two, three"),
        ({"labels": [0], "count": 2}, "labels", "2"),
        ({"count": 101}, "count", "1 to 100"),
        ({"steps": 1001}, "steps", "1 to 1000"),
        ({"label": True}, "label", "a whole number or text"),
        ({"labels": []}, "labels", "a list of at least 1 of: a whole number or text"),
        ({"labels": [True, None]}, "labels", "a list of at least 1 of: a whole number or text"),
        ({"count": 0}, "count", "a whole number, at least 1"),
        ({"count": "3"}, "count", "a whole number, at least 1"),
        ({"count": 2.5}, "count", "a whole number, at least 1"),
        ({"steps": 0}, "steps", "a whole number, at least 1"),
        ({"seed": -1}, "seed", "a whole number from 0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed", "a whole number from 0 to 18446744073709551615"),
        ({"guidance_scale": 101}, "guidance_scale", "a number from 0 to 100"),
        ({"guidance_scale": "2"}, "guidance_scale", "a number from 0 to 100"),
        ({"strength": 0}, "strength", "a number, above 0, at most 1"),
        ({"eta": 2}, "eta", "a number from 0 to 1"),
        ({"frames": 101}, "frames", "a whole number from 0 to 100"),
        ({"spacing": "even"}, "spacing", "one of trailing, leading, linspace"),
        ({"priority": 1}, "priority", "one of interactive, batch"),
        ({"model": 7}, "model", "text"),
        ({"sede": 7}, "sede", "model, count"),
    ],
)
def test_refused_field_is_422_with_what_is_allowed(
    http: httpx.Client, redis: Redis, body: dict[str, Any], field: str, allowed: str
) -> None:
    answer = http.post("/generate", json=body)
    assert_problem(answer, 422, field, allowed)
    assert not any(word in answer.text for word in ("Input should", "valid integer", "pydantic", "int_"))
    assert jobs_in(redis) == 0


def test_detail_is_a_sentence_for_each_field(http: httpx.Client) -> None:
    answer = http.post("/generate", json={"count": "3", "sede": 7, "frames": -1}).json()
    assert answer["detail"] == (
        "count must be a whole number, at least 1; frames must be a whole number from 0 to 100; "
        "sede is not a field: did you mean seed?"
    )


@pytest.mark.parametrize("field", GenerateRequest.model_fields)
def test_every_field_has_plain_english(field: str) -> None:
    assert "JSON" not in expected(GenerateRequest.model_json_schema()["properties"][field])


@pytest.mark.parametrize("field", ["model", "sampler", "label"])
def test_lone_surrogate_is_422(http: httpx.Client, field: str) -> None:
    """It is valid JSON, and cannot be encoded in UTF-8."""
    body = f'{{"{field}": "\\ud800"}}'
    answer = http.post("/generate", content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 422, field)


def test_error_does_not_repeat_a_large_body(http: httpx.Client) -> None:
    for body in ({f"unknown{i}": 0 for i in range(10_000)}, {"model": "x" * 200_000}, {"x" * 200_000: 1}):
        answer = http.post("/generate", json=body)
        assert answer.status_code == 422
        assert 1 <= len(answer.json()["errors"]) <= 10
        assert len(answer.content) < 20_000
