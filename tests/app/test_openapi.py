"""The OpenAPI document matches the app: the response to any request is declared."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from redis import Redis
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from app import examples
from app.main import create_app
from app.settings import AppSettings
from jobs import models
from jobs.schema import GenerateRequest, JobView
from tests.jobs.factories import CARD

DOCUMENT = create_app(AppSettings()).openapi()
OPERATIONS = {operation["operationId"]: operation for path in DOCUMENT["paths"].values() for operation in path.values()}
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
schema = schemathesis.openapi.from_dict(DOCUMENT)


def test_operation_ids_are_stable() -> None:
    """Generated clients name their methods after them."""
    assert set(OPERATIONS) == {
        *("generate", "get_job", "list_jobs", "cancel_job", "job_events"),
        *("get_image", "get_grid", "get_process", "get_archive"),
        *("list_models", "get_model", "get_figure"),
        *("healthz", "readyz", "metrics"),
    }
    assert not any("head" in path for path in DOCUMENT["paths"].values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_has_summary_tag_and_problems_of_their_media_type(name: str) -> None:
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"][0] in {tag["name"] for tag in DOCUMENT["tags"]}
    assert {"421", "500"} <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        assert response["description"]
        if int(status) >= 400:
            expected = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
            assert response["content"] == expected
    assert "HTTPValidationError" not in str(DOCUMENT)


@pytest.mark.parametrize(
    ("name", "media_types"),
    [
        ("get_image", {"image/png"}),
        ("get_grid", {"image/png"}),
        ("get_process", {"image/gif"}),
        ("get_archive", {"application/zip"}),
        ("get_figure", {"image/png", "image/gif"}),
        ("job_events", {"text/event-stream"}),
        ("get_job", {"application/json"}),
    ],
)
def test_media_types_of_answers_are_declared(name: str, media_types: set[str]) -> None:
    assert OPERATIONS[name]["responses"]["200"]["content"].keys() == media_types


def test_media_type_of_metrics_is_the_one_sent(http: httpx.Client) -> None:
    assert [*OPERATIONS["metrics"]["responses"]["200"]["content"]] == [http.get("/metrics").headers["content-type"]]


def test_headers_are_declared() -> None:
    requests = {parameter["name"] for each in OPERATIONS.values() for parameter in each.get("parameters", ())}
    assert {"Idempotency-Key", "Prefer", "Last-Event-ID"} <= requests
    responses = OPERATIONS["generate"]["responses"]
    for status in ("200", "202"):
        assert {"Location", "Preference-Applied", "Idempotency-Replayed"} == responses[status]["headers"].keys()
    assert "Retry-After" in responses["429"]["headers"]
    assert "Retry-After" in responses["503"]["headers"]


def test_examples_are_valid() -> None:
    for view in (examples.QUEUED_JOB, examples.FINISHED_JOB, examples.CANCELED_JOB):
        assert JobView.model_validate(view).model_dump(mode="json").keys() == view.keys()
    for request in examples.REQUESTS.values():
        GenerateRequest.model_validate(request["value"])
    assert DOCUMENT["paths"]["/generate"]["post"]["responses"]["202"]["content"]["application/json"]["example"]
    assert re.findall(r"^event: (\w+)", examples.EVENTS, re.MULTILINE) == ["queued", "started", "done"]


def test_request_body_is_described(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()
    request = described["components"]["schemas"]["GenerateRequest"]
    assert request["additionalProperties"] is False
    assert set(request["properties"]) == set(GenerateRequest.model_fields)
    assert set(described["paths"]["/generate"]["post"]["requestBody"]["content"]) == {"application/json"}


@pytest.fixture
def ready(app_url: str, redis: Redis) -> str:
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    return app_url


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
    database=None,
)
def test_any_request_gets_a_declared_response(case: Any, ready: str) -> None:
    case.call_and_validate(base_url=ready, checks=CHECKS, timeout=20)


def test_undeclared_status_would_fail(http: httpx.Client) -> None:
    undeclared = {**OPERATIONS["get_job"], "responses": {"200": {"description": "The job."}}}
    document = {**DOCUMENT, "paths": {"/jobs/{job_id}": {"get": undeclared}}}
    case = schemathesis.openapi.from_dict(document)["/jobs/{job_id}"]["GET"].Case(path_parameters={"job_id": "f" * 32})
    with pytest.raises(FailureGroup, match="Undocumented"):
        case.call_and_validate(base_url=str(http.base_url), checks=[status_code_conformance])
