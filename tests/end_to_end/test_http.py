"""The main use over HTTP: queue a job, follow it, download its images."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import httpx
import pytest
from PIL import Image
from redis import Redis
from rq.job import Job

from serve import redis_server
from tests.service import Event, Service

COUNT = 16
STEPS = 200


@pytest.fixture(scope="module")
def job(service: Service) -> dict[str, object]:
    return service.generate(model="mnist", count=COUNT, seed=7, steps=STEPS)


@pytest.fixture(scope="module")
def stream(service: Service, job: dict[str, object]) -> list[Event]:
    return list(service.events(job))


@pytest.fixture(scope="module")
def pngs(service: Service, job: dict[str, object]) -> list[bytes]:
    return service.images(job)


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).tobytes()


def test_images_are_28_by_28_grey_and_distinct(pngs: list[bytes]) -> None:
    opened = [Image.open(io.BytesIO(png)) for png in pngs]
    assert [(image.mode, image.size) for image in opened] == [("L", (28, 28))] * COUNT
    assert len({image.tobytes() for image in opened}) == COUNT


def test_stream_has_20_frames_and_the_last_equals_the_images(stream: list[Event], pngs: list[bytes]) -> None:
    frames = [event.data for event in stream if event.type == "frame"]
    assert [event.type for event in stream if event.type != "frame"] == ["queued", "started", "done"]
    assert [frame["step"] for frame in frames] == [STEPS * i // 20 for i in range(1, 21)]
    last = frames[-1]["images"]
    assert [pixels(base64.b64decode(image)) for image in last] == [pixels(png) for png in pngs]
    assert len({"".join(frame["images"]) for frame in frames}) == 20


def test_stream_resumes_after_last_event_id(service: Service, job: dict[str, object], stream: list[Event]) -> None:
    assert list(service.events(job, last_id=stream[9].id)) == stream[10:]


def test_gif_has_the_frames(service: Service, job: dict[str, object], pngs: list[bytes]) -> None:
    urls = service.job(job)["urls"]
    gif = Image.open(io.BytesIO(service.http.get(urls["process"]).content))
    assert gif.n_frames >= 16


def test_grid_and_archive_hold_every_image(service: Service, job: dict[str, object], pngs: list[bytes]) -> None:
    urls = service.job(job)["urls"]
    grid = Image.open(io.BytesIO(service.http.get(urls["grid"]).content))
    for i, png in enumerate(pngs):
        left, top = (i % 4) * 29, (i // 4) * 29
        assert grid.crop((left, top, left + 28, top + 28)).tobytes() == pixels(png)
    archive = zipfile.ZipFile(io.BytesIO(service.http.get(urls["archive"]).content))
    assert [archive.read(f"{i:05d}.png") for i in range(COUNT)] == pngs
    assert json.loads(archive.read("job.json"))["seed"] == 7


def test_recipe_in_a_png_reproduces_it(service: Service, pngs: list[bytes]) -> None:
    text = Image.open(io.BytesIO(pngs[3])).text
    recipe = json.loads(text["noisemill"])
    assert text["parameters"].startswith(f"Steps: {STEPS}, Sampler: dpmpp_2m, Spacing: trailing, ")
    card = service.http.get("/models/mnist").json()
    assert recipe.pop("model_hash") == card["digest"]
    assert recipe.pop("build") == card["build"]
    body = recipe | {"first_index": recipe.pop("index")}
    assert service.images(service.generate(model="mnist", **body)) == [pngs[3]]


def test_empty_request_uses_the_first_model(service: Service) -> None:
    answer = service.http.post("/generate", json={}, headers={"Prefer": "wait=60"}, timeout=90)
    assert answer.status_code == 200
    job = answer.json()
    first = service.http.get("/models").json()["models"][0]
    assert (job["request"]["model"], job["request"]["count"], job["request"]["steps"]) == (
        first["name"],
        1,
        50,
    )
    assert 0 <= job["request"]["seed"] < 2**53
    assert len(job["urls"]["images"]) == 1


def test_cancel_stops_only_this_job(service: Service) -> None:
    long = service.generate(model="digits", count=64, steps=1000, seed=1)
    other = service.generate(model="digits", count=1, steps=200, seed=2)
    assert service.http.delete(long["urls"]["job"]).json()["status"] == "canceled"
    assert [event.type for event in service.events(long)][-1] == "canceled"
    service.finished(other)
    assert service.http.delete(long["urls"]["job"]).status_code == 409


def test_rq_status_of_the_job_is_finished(service: Service, job: dict[str, object], pngs: list[bytes]) -> None:
    with Redis(unix_socket_path=str(redis_server.socket_path(service.state))) as redis:
        assert Job.fetch(str(job["id"]), redis).get_status().value == "finished"


def test_metrics_of_a_running_service(service: Service, pngs: list[bytes]) -> None:
    text = service.http.get("/metrics").text
    assert "noisemill_workers 1.0" in text
    assert 'noisemill_jobs_ended_total{status="finished"}' in text


def test_second_service_on_the_same_state_is_refused(service: Service) -> None:
    second = Service(service.models, service.state)
    with pytest.raises(AssertionError, match=f"already running at {service.url}"):
        second.start()
    second.http.close()


def test_docs_and_page_are_served(service: Service) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
        assert httpx.get(service.url + path).status_code == 200, path
