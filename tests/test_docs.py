"""The documents agree with the code: an endpoint, setting, event, field or command without a word fails here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic_settings import BaseSettings

from app.main import create_app
from app.settings import AppSettings
from jobs.schema import EVENT_DATA, EventType, GenerateRequest, Status
from noisemill.cli import cli
from worker.settings import WorkerSettings

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs/api.md").read_text()
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
README = (ROOT / "README.md").read_text()


def endpoints() -> set[str]:
    paths = create_app().openapi()["paths"]
    return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}


def test_every_endpoint_is_documented_and_no_other() -> None:
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


@pytest.mark.parametrize("settings", [AppSettings, WorkerSettings])
def test_every_setting_is_documented_with_its_default(settings: type[BaseSettings]) -> None:
    for name, field in settings.model_fields.items():
        row = next(line for line in ARCHITECTURE.splitlines() if line.startswith(f"| `NOISEMILL_{name.upper()}` |"))
        if field.default is not None:
            assert str(field.default) in row


def test_no_setting_is_documented_that_is_not_there() -> None:
    known = {f"NOISEMILL_{name.upper()}" for each in (AppSettings, WorkerSettings) for name in each.model_fields}
    assert set(re.findall(r"NOISEMILL_[A-Z_]+", API + ARCHITECTURE + README)) <= known


def test_every_command_is_in_the_readme() -> None:
    for command in cli.registered_commands:
        assert command.callback is not None
        assert f"noisemill {command.name or command.callback.__name__}" in README


def test_every_file_that_the_documents_point_to_is_there() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)|<img src=\"([^\"]+)\"", document.read_text()):
            path = "".join(target)
            assert (document.parent / path).exists(), f"{document.name} points to {path}"


def test_routes_have_a_summary() -> None:
    routes = [route for route in create_app().routes if isinstance(route, APIRoute) and route.include_in_schema]
    assert all(route.summary for route in routes)
