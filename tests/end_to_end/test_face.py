"""The main job, as a user does it: ask, watch, fetch."""

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
def story(service: Service, job: dict[str, object]) -> list[Event]:
    return list(service.events(job))


@pytest.fixture(scope="module")
def pngs(service: Service, job: dict[str, object]) -> list[bytes]:
    return service.images(job)


def pixels(png: bytes) -> bytes:
    return Image.open(io.BytesIO(png)).tobytes()


def test_every_image_is_28_by_28_grey_and_its_own(pngs: list[bytes]) -> None:
    opened = [Image.open(io.BytesIO(png)) for png in pngs]
    assert [(image.mode, image.size) for image in opened] == [("L", (28, 28))] * COUNT
    assert len({image.tobytes() for image in opened}) == COUNT


def test_twenty_frames_of_distinct_steps_the_last_equal_to_the_images(story: list[Event], pngs: list[bytes]) -> None:
    frames = [event.data for event in story if event.type == "frame"]
    assert [event.type for event in story if event.type != "frame"] == ["queued", "started", "done"]
    assert [frame["step"] for frame in frames] == [STEPS * i // 20 for i in range(1, 21)]
    last = frames[-1]["images"]
    assert [pixels(base64.b64decode(image)) for image in last] == [pixels(png) for png in pngs]
    assert len({"".join(frame["images"]) for frame in frames}) == 20


def test_the_stream_resumes_after_any_event(service: Service, job: dict[str, object], story: list[Event]) -> None:
    assert list(service.events(job, last_id=story[9].id)) == story[10:]


def test_the_gif_shows_the_process(service: Service, job: dict[str, object], pngs: list[bytes]) -> None:
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


def test_a_png_says_what_reproduces_it(service: Service, pngs: list[bytes]) -> None:
    text = Image.open(io.BytesIO(pngs[3])).text
    recipe = json.loads(text["noisemill"])
    assert text["parameters"].startswith(f"Steps: {STEPS}, Sampler: dpmpp_2m, Spacing: trailing, ")
    card = service.http.get("/models/mnist").json()
    assert recipe.pop("model_hash") == card["digest"]
    body = recipe | {"first_index": recipe.pop("index")}
    assert service.images(service.generate(model="mnist", **body)) == [pngs[3]]


def test_generate_without_anything_takes_the_first_model(service: Service) -> None:
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


def test_cancel_stops_this_job_alone(service: Service) -> None:
    long = service.generate(model="digits", count=64, steps=1000, seed=1)
    other = service.generate(model="digits", count=1, steps=200, seed=2)
    assert service.http.delete(long["urls"]["job"]).json()["status"] == "canceled"
    assert [event.type for event in service.events(long)][-1] == "canceled"
    service.finished(other)
    assert service.http.delete(long["urls"]["job"]).status_code == 409


def test_rq_tells_the_same_truth(service: Service, job: dict[str, object], pngs: list[bytes]) -> None:
    with Redis(unix_socket_path=str(redis_server.socket_path(service.state))) as redis:
        assert Job.fetch(str(job["id"]), redis).get_status().value == "finished"


def test_a_running_service_shows_metrics(service: Service, pngs: list[bytes]) -> None:
    text = service.http.get("/metrics").text
    assert "noisemill_workers 1.0" in text
    assert 'noisemill_jobs_ended_total{status="finished"}' in text


def test_a_second_service_on_the_same_state_says_that_one_is_running(service: Service) -> None:
    second = Service(service.models, service.state)
    with pytest.raises(AssertionError, match=f"already running at {service.url}"):
        second.start()
    second.http.close()


def test_docs_and_page_are_served(service: Service) -> None:
    for path in ("/", "/docs", "/openapi.json", "/healthz", "/readyz"):
        assert httpx.get(service.url + path).status_code == 200, path
