"""The containers: built, started, used, restarted, killed and removed."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from app.settings import AppSettings
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
ENGINE = ROOT.parent / "shared" / "docker" / "engine"  # an engine for machines without one
ENGINE_SOCKET = Path(os.environ.get("ENGINE_DIR", "/tmp/noisemill-engine")) / "d.sock"
SKIP = 3  # the engine's exit status if it cannot run here
SERVICES = ("redis", "app", "worker")

COMMAND_SECONDS = 180
BUILD_SECONDS = 2400  # the worker's first build fetches about 3 GB
READY_SECONDS = 600  # imports torch and compiles a network, on a machine that may have other work

REQUEST = {"seed": 7, "steps": 50}

docker_test = pytest.mark.docker
slow = pytest.mark.timeout(4000)
T = TypeVar("T")


@dataclass(frozen=True)
class Docker:
    """A Docker engine."""

    env: dict[str, str]
    bridges: bool  # if False, containers run on the host's loopback

    def __call__(self, *arguments: str, seconds: float = COMMAND_SECONDS, **env: str) -> str:
        done = _run("docker", *arguments, seconds=seconds, env=self.env | env)
        assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout


@dataclass(frozen=True)
class Service:
    """A running `docker compose up`, with its own project name and ports."""

    docker: Docker
    project: str
    files: list[Path]
    redis_port: int
    http: httpx.Client

    def compose(self, *arguments: str) -> str:
        files = [word for file in self.files for word in ("-f", str(file))]
        port, redis_url = str(self.http.base_url.port), f"redis://redis:{self.redis_port}/0"
        return self.docker("compose", "-p", self.project, *files, *arguments, PORT=port, NOISEMILL_REDIS_URL=redis_url)

    def container(self, name: str) -> str:
        return self.compose("ps", "-aq", name).strip()

    def state(self, name: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.docker("inspect", "-f", "{{json .State}}", self.container(name)))
        return state

    def all_healthy(self) -> bool:
        return all(self.state(name).get("Health", {}).get("Status") == "healthy" for name in SERVICES)

    def ready(self) -> bool:
        return self.http.get("/readyz").status_code == 200

    def generate(self, **fields: Any) -> str:
        answer = self.http.post("/generate", json=REQUEST | fields)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.http.get(f"/jobs/{job_id}").raise_for_status()
        job: dict[str, Any] = answer.json()
        return job

    def finished(self, job_id: str) -> bool:
        job = self.job(job_id)
        assert job["status"] not in ("failed", "canceled"), job
        return bool(job["status"] == "finished")

    def png(self, job_id: str, position: int = 0) -> bytes:
        return self.http.get(f"/jobs/{job_id}/images/{position}.png").raise_for_status().content


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """The engine beside the repository, else an installed one; skips if there is none."""
    if not ENGINE.exists():
        yield _installed_docker()
        return
    ours = not _listens(ENGINE_SOCKET)
    try:
        script = f'exports="$({ENGINE} up)" || exit; eval "$exports"; env -0'
        done = _run("bash", "-c", script, seconds=BUILD_SECONDS, env=dict(os.environ))
        if done.returncode == SKIP:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr[-3000:]
        yield Docker(dict(line.split("=", 1) for line in done.stdout.split("\0") if line), bridges=False)
    finally:
        if ours:
            _run(str(ENGINE), "down", seconds=COMMAND_SECONDS, env=dict(os.environ))


@pytest.fixture(scope="module")
def project(docker: Docker) -> Iterator[str]:
    """A unique project name, under which both images are built."""
    name = f"noisemill-test-{uuid.uuid4().hex[:8]}"
    images = {target: f"{name}-{target}" for target in ("app", "worker")}  # the names that compose looks for
    options = [] if docker.bridges else ["--network", "host"]
    if wheels := docker.env.get("ENGINE_WHEELS"):
        options += ["--build-arg", f"PIP_FIND_LINKS={wheels}"]
    try:
        for target, image in images.items():
            began = time.monotonic()
            docker("build", *options, "--target", target, "-t", image, str(ROOT), seconds=BUILD_SECONDS)
            size = int(docker("image", "inspect", "-f", "{{.Size}}", image))
            print(f"{target}: built in {time.monotonic() - began:.0f} s, {size / 1e6:.0f} MB")
        yield name
    finally:
        _run("docker", "rmi", "-f", *images.values(), seconds=COMMAND_SECONDS, env=docker.env)  # the cache stays


@pytest.fixture(scope="module")
def service(docker: Docker, project: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("compose")
    models = _models(folder / "models")
    port, redis_port = _free_ports(2)
    files = [COMPOSE, override := folder / "override.yml"]
    if docker.bridges:
        redis_port = 6379  # in a network of its own
    else:
        files.insert(1, hostnet := folder / "hostnet.yml")
        hostnet.write_text(subprocess.check_output([ENGINE, "hostnet", COMPOSE], env=docker.env, text=True, timeout=60))
    override.write_text(json.dumps(_override(docker, models, port, redis_port)))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        service = Service(docker, project, files, redis_port, http)
        try:
            service.compose("up", "-d", "--no-build")
            _wait("ready", service.ready)
            yield service
        finally:
            print(service.compose("logs", "--tail", "100"))  # shown if a test failed
            service.compose("down", "-v", "--remove-orphans")
    for what in (("ps", "-a"), ("volume", "ls"), ("network", "ls")):
        left = docker(*what, "-q", "--filter", f"label=com.docker.compose.project={project}")
        assert left == "", f"{what} lists resources after `down -v`"


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
    _wait("healthy", service.all_healthy)
    (card,) = service.http.get("/models").raise_for_status().json()["models"]
    assert card["build"].endswith(" compiled")


@docker_test
@slow
def test_jobs_and_images_survive_restart_and_killed_redis(service: Service) -> None:
    job = service.generate()
    _wait("finished", lambda: service.finished(job))
    png, record = service.png(job), service.job(job)
    assert png.startswith(b"\x89PNG")

    service.compose("restart")
    _wait("ready after a restart", service.ready)
    assert service.png(job) == png
    assert service.job(job) == record

    before = service.state("redis")["StartedAt"]
    service.docker("exec", service.container("redis"), "sh", "-c", "kill -9 $(pidof redis-server)")
    _wait("redis started again", lambda: service.state("redis")["StartedAt"] != before)
    _wait("ready after a crash", service.ready)
    assert service.png(job) == png
    assert service.job(job) == record
    _wait("healthy", service.all_healthy)

    again = service.generate()
    _wait("finished", lambda: service.finished(again))
    assert service.png(again) == png


@docker_test
@slow
def test_stopped_worker_requeues_its_job_within_the_grace_period(service: Service) -> None:
    alone = service.generate(steps=400)
    _wait("finished", lambda: service.finished(alone))
    many = service.generate(steps=400, count=64)
    _wait("running", lambda: service.job(many)["status"] == "running" and service.job(many)["progress"]["steps_done"])
    service.compose("stop", "worker")
    assert service.state("worker")["ExitCode"] == 0, "the worker was killed: its grace period was too short"
    assert "job put back" in service.compose("logs", "worker")
    assert service.job(many)["status"] == "queued"
    service.compose("start", "worker")
    _wait("finished", lambda: service.finished(many))
    assert service.png(many) == service.png(alone)
    assert service.job(many)["attempt"] == 2


def _installed_docker() -> Docker:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    env = os.environ | {"DOCKER_BUILDKIT": "1"}
    for command in (["info"], ["compose", "version"]):
        done = _run("docker", *command, seconds=60, env=env)
        if done.returncode:
            pytest.skip(f"docker {' '.join(command)} fails: {done.stderr.strip()}")
    return Docker(env, bridges=True)


def _override(docker: Docker, models: Path, port: int, redis_port: int) -> dict[str, Any]:
    """Overrides of the compose file: the models, and the addresses if the host's loopback is used."""
    mount = {"volumes": [f"{models}:/models:ro"]}
    if docker.bridges:
        return {"services": {"worker": mount}}
    config = json.loads(docker("compose", "-f", str(COMPOSE), "config", "--format", "json"))
    command = [*config["services"]["redis"]["command"], "--bind", "127.0.0.1", "--port", str(redis_port)]
    check = config["services"]["redis"]["healthcheck"]["test"]
    check = [word.replace("redis-cli", f"redis-cli -p {redis_port}") for word in check]
    app = {"environment": {"HOST": "127.0.0.1", "PORT": str(port)}}
    return {"services": {"redis": {"command": command, "healthcheck": {"test": check}}, "app": app, "worker": mount}}


def _models(folder: Path) -> Path:
    """A folder with only the smallest reference model."""
    shutil.copytree(ROOT / "checkpoints" / "digits", folder / "digits")
    folder.chmod(0o755)  # for the container's user
    return folder


def _run(*command: str, seconds: float, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=env, timeout=seconds, capture_output=True, text=True, check=False)


def _wait(what: str, check: Callable[[], object], seconds: float = READY_SECONDS) -> None:
    """Polls until `check` is true. Services that restart may refuse or drop connections meanwhile."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        try:
            if check():
                return
        except httpx.HTTPError as error:
            last = error
        time.sleep(0.5)
    pytest.fail(f"not {what} after {seconds:.0f} s; last error: {last!r}")


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _free_ports(count: int) -> list[int]:
    """Distinct unused ports."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
