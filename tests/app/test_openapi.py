"""The API as it describes itself, and whatever a client may make of that."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from redis import Redis
from schemathesis.checks import not_a_server_error

from app.main import create_app
from app.settings import AppSettings
from jobs import models
from tests.jobs.made import CARD

schema = schemathesis.openapi.from_dict(create_app(AppSettings()).openapi())


def test_every_route_is_described_in_words() -> None:
    described = create_app(AppSettings()).openapi()
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], f"{method} {path}"


def test_what_a_client_sends_and_gets_is_described(http: httpx.Client) -> None:
    described = http.get("/openapi.json").json()
    request = described["components"]["schemas"]["GenerateRequest"]
    assert request["additionalProperties"] is False
    assert set(request["properties"]) > {"model", "count", "seed", "steps", "sampler", "label", "labels", "frames"}
    post = described["paths"]["/generate"]["post"]
    assert set(post["requestBody"]["content"]) == {"application/json"}
    assert "202" in post["responses"]


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
def test_nothing_that_a_client_can_send_breaks_the_app(case: Any, ready: str) -> None:
    case.call_and_validate(base_url=ready, checks=[not_a_server_error], timeout=20)
