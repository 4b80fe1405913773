"""A client that openapi-python-client generates from /openapi.json drives a job from end to end."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from redis import Redis

from jobs.records import Records
from jobs.schema import Done
from tests.app.test_results import png

PACKAGE = "noisemill_api_client"
# The generator knows no media types of files but this one.
CONFIG = {
    "package_name_override": PACKAGE,
    "project_name_override": PACKAGE,
    "content_type_overrides": {
        **dict.fromkeys(("image/png", "image/gif", "application/zip"), "application/octet-stream"),
        "text/event-stream": "text/plain",
    },
    "post_hooks": [],
}


@pytest.fixture(scope="module")
def generated(app_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("client")
    (folder / "openapi.json").write_text(httpx.get(f"{app_url}/openapi.json").text)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    command = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--fail-on-warning"]
    command += ["--path", "openapi.json", "--config", "config.json", "--output-path", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture
def client(generated: Path, http: httpx.Client) -> Iterator[Any]:
    with importlib.import_module(PACKAGE).Client(base_url=str(http.base_url)) as client:
        yield client


def call(client: Any, tag: str, operation: str, *arguments: Any, **named: Any) -> Any:
    """The answer's status, raw content and parsed body."""
    return importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}").sync_detailed(*arguments, client=client, **named)


def model(name: str) -> Any:
    return getattr(importlib.import_module(f"{PACKAGE}.models"), name)


def test_generated_client_queues_polls_and_downloads(client: Any, redis: Redis) -> None:
    request = model("GenerateRequest")(count=2, seed=2**64 - 1, label=1, steps=10)
    answer = call(client, "jobs", "generate", body=request, idempotency_key="once")
    assert answer.status_code == 202
    job = answer.parsed
    assert (job.status, job.request.seed, job.request.labels) == ("queued", 2**64 - 1, [1, 1])
    records = Records(redis)
    attempt = records.begin(job.id)
    assert attempt is not None
    records.store(attempt, {0: png(10), 1: png(20)})
    records.finish(attempt, Done(images=2, seconds=0.1))
    polled = call(client, "jobs", "get_job", job.id).parsed
    assert (polled.status, len(polled.urls.images)) == ("finished", 2)
    for operation, arguments in {"get_image": (job.id, 1), "get_grid": (job.id,)}.items():
        file = call(client, "results", operation, *arguments)
        assert file.status_code == 200
        assert Image.open(io.BytesIO(file.content)).format == "PNG"
        assert file.parsed.payload.getvalue() == file.content
    page = call(client, "jobs", "list_jobs", limit=1).parsed
    assert [each.id for each in page.jobs] == [job.id]


def test_generated_client_cancels(client: Any) -> None:
    job = call(client, "jobs", "generate", body=model("GenerateRequest")()).parsed
    canceled = call(client, "jobs", "cancel_job", job.id).parsed
    assert canceled.status == "canceled"
    again = call(client, "jobs", "cancel_job", job.id)
    assert (again.status_code, again.parsed.status) == (409, 409)
    assert "already ended" in again.parsed.detail


def test_generated_client_parses_problems(client: Any) -> None:
    answer = call(client, "jobs", "generate", body=model("GenerateRequest")(count=1000))
    assert answer.status_code == 422
    assert [(error.field, error.allowed) for error in answer.parsed.errors] == [("count", "1 to 100")]


def test_generated_client_reads_models_and_health(client: Any) -> None:
    assert [card.name for card in call(client, "models", "list_models").parsed.models] == ["tiny"]
    assert call(client, "operations", "readyz").parsed.workers == 1
