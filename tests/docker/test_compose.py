"""The containers: built, started, used, restarted, killed and removed."""

from __future__ import annotations

import json

import pytest

from app.settings import AppSettings
from tests.docker.engine import COMPOSE, ROOT, Docker, Service, wait
from worker.settings import WorkerSettings

docker_test = pytest.mark.docker
slow = pytest.mark.timeout(4000)


def test_every_setting_is_passed_to_its_container() -> None:
    compose = COMPOSE.read_text()
    for kind, service in ((AppSettings, "app"), (WorkerSettings, "worker")):
        passed = compose.split(f"\n  {service}:\n")[1].split("\n\n")[0]
        for name in set(kind.model_fields) - {"models"}:  # a mount, not a variable
            assert f" NOISEMILL_{name.upper()}:" in passed, f"docker-compose.yml does not pass {name} to the {service}"


@docker_test
@slow
def test_gpu_override_reserves_a_gpu_for_the_worker(docker: Docker) -> None:
    files = ("-f", str(COMPOSE), "-f", str(ROOT / "docker-compose.gpu.yml"))
    worker = json.loads(docker("compose", *files, "config", "--format", "json"))["services"]["worker"]
    (device,) = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert worker["build"]["target"] == "worker"


@docker_test
@slow
def test_images_do_not_run_as_root(docker: Docker, project: str) -> None:
    for target in ("app", "worker"):
        assert docker("run", "--rm", "--network", "none", f"{project}-{target}", "id", "-u").strip() != "0"


@docker_test
@slow
def test_app_image_has_no_torch_and_worker_image_has_torch_and_compiler(docker: Docker, project: str) -> None:
    find = "from importlib.util import find_spec; print(find_spec('torch') is not None)"
    for target, has in (("app", "False"), ("worker", "True")):
        assert docker("run", "--rm", "--network", "none", f"{project}-{target}", "python", "-c", find).strip() == has
    docker("run", "--rm", "--network", "none", f"{project}-worker", "g++", "--version")


@docker_test
@slow
def test_services_become_healthy_and_worker_compiles(service: Service) -> None:
    wait("healthy", service.all_healthy)
    (card,) = service.http.get("/models").raise_for_status().json()["models"]
    assert card["build"].endswith(" compiled")


@docker_test
@slow
def test_jobs_and_images_survive_restart_and_killed_redis(service: Service) -> None:
    job = service.generate()
    wait("finished", lambda: service.finished(job))
    png, record = service.png(job), service.job(job)
    assert png.startswith(b"\x89PNG")

    service.compose("restart")
    wait("ready after a restart", service.ready)
    assert service.png(job) == png
    assert service.job(job) == record

    before = service.state("redis")["StartedAt"]
    service.docker("exec", service.container("redis"), "sh", "-c", "kill -9 $(pidof redis-server)")
    wait("redis started again", lambda: service.state("redis")["StartedAt"] != before)
    wait("ready after a crash", service.ready)
    assert service.png(job) == png
    assert service.job(job) == record
    wait("healthy", service.all_healthy)

    again = service.generate()
    wait("finished", lambda: service.finished(again))
    assert service.png(again) == png


@docker_test
@slow
def test_stopped_worker_requeues_its_job_within_the_grace_period(service: Service) -> None:
    alone = service.generate(steps=400)
    wait("finished", lambda: service.finished(alone))
    many = service.generate(steps=400, count=64)
    wait("running", lambda: service.job(many)["status"] == "running" and service.job(many)["progress"]["steps_done"])
    service.compose("stop", "worker")
    assert service.state("worker")["ExitCode"] == 0, "the worker was killed: its grace period was too short"
    assert "job put back" in service.compose("logs", "worker")
    assert service.job(many)["status"] == "queued"
    service.compose("start", "worker")
    wait("finished", lambda: service.finished(many))
    assert service.png(many) == service.png(alone)
    assert service.job(many)["attempt"] == 2
