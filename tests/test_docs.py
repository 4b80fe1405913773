"""The documents match the code: every endpoint, setting, event, field, metric and command is documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from redis import Redis

from app.main import create_app
from app.metrics import ServiceCollector
from docs import settings
from jobs.records import Records
from jobs.schema import EVENT_DATA, EventType, GenerateRequest, Status
from noisemill.cli import cli

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs/api.md").read_text()
METRICS = (ROOT / "docs/metrics.md").read_text()
SETTINGS = settings.PAGE.read_text()
README = (ROOT / "README.md").read_text()
DOCUMENTS = (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))


def endpoints() -> set[str]:
    paths = create_app().openapi()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_api_page_lists_every_endpoint() -> None:
    table = API.partition("## Calls")[2].partition("## ")[0]
    documented = set(re.findall(r"`((?:GET|POST|DELETE) [^`]*)`", table))
    assert documented - {"GET /"} == endpoints()


@pytest.mark.parametrize("event", EventType)
def test_every_event_is_documented_with_its_fields(event: EventType) -> None:
    row = next(line for line in API.splitlines() if line.startswith(f"| `{event.value}` |"))
    for field in EVENT_DATA[event].model_fields:
        assert f"`{field}`" in row


def test_every_field_of_a_request_is_documented() -> None:
    table = API.partition("## POST /generate")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(GenerateRequest.model_fields)


@pytest.mark.parametrize("status", Status)
def test_every_status_is_documented(status: Status) -> None:
    assert f"`{status.value}`" in API.partition("## Statuses")[2]


def test_settings_page_matches_the_code() -> None:
    assert settings.render(SETTINGS) == SETTINGS, "run `make docs`"


def test_documents_name_only_existing_settings() -> None:
    known = {f"NOISEMILL_{name.upper()}" for kind in settings.SECTIONS.values() for name in kind.model_fields}
    for document in DOCUMENTS:
        assert set(re.findall(r"NOISEMILL_[A-Z_]+", document.read_text())) <= known, document


def test_metrics_page_lists_every_metric(redis: Redis) -> None:
    families = ServiceCollector(redis, Records(redis)).collect()
    names = {family.name + ("_total" if family.type == "counter" else "") for family in families}
    assert set(re.findall(r"^\| `(noisemill_\w+)` \|", METRICS, re.MULTILINE)) == names


def test_every_command_is_in_the_readme() -> None:
    for command in cli.registered_commands:
        assert command.callback is not None
        assert f"noisemill {command.name or command.callback.__name__}" in README


def test_links_between_documents_resolve() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#:]+)\)|<img src=\"([^\"]+)\"", document.read_text()):
            path = "".join(target)
            assert (document.parent / path).exists(), f"{document.name} points to {path}"


def test_routes_have_a_summary() -> None:
    routes = [route for route in create_app().routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert all(route.summary for route in routes)
