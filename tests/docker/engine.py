"""The Docker engine, the images and the composed service that the tests of the containers use."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
ENGINE = ROOT.parent / "shared" / "docker" / "engine"  # script that starts an engine on machines without one
ENGINE_SOCKET = Path(os.environ.get("ENGINE_DIR", "/tmp/noisemill-engine")) / "d.sock"
SKIP = 3  # exit status of the script if an engine cannot run on this machine
SERVICES = ("redis", "app", "worker")

COMMAND_SECONDS = 180
BUILD_SECONDS = 2400  # the first build of the worker downloads about 3 GB
READY_SECONDS = 600  # the worker imports torch and compiles a network, possibly on a busy machine

REQUEST = {"seed": 7, "steps": 50}


@dataclass(frozen=True)
class Docker:
    """A Docker engine."""

    env: dict[str, str]
    bridges: bool  # if False, containers run on the host's loopback

    def __call__(self, *arguments: str, seconds: float = COMMAND_SECONDS, **env: str) -> str:
        done = run("docker", *arguments, seconds=seconds, env=self.env | env)
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


def installed_docker() -> Docker:
    if shutil.which("docker") is None:
        pytest.skip("docker is not installed")
    env = os.environ | {"DOCKER_BUILDKIT": "1"}
    for command in (["info"], ["compose", "version"]):
        done = run("docker", *command, seconds=60, env=env)
        if done.returncode:
            pytest.skip(f"docker {' '.join(command)} fails: {done.stderr.strip()}")
    return Docker(env, bridges=True)


def override_of(docker: Docker, models: Path, port: int, redis_port: int) -> dict[str, Any]:
    """Overrides of the compose file: the models, and the addresses if containers run on the host's loopback."""
    mount = {"volumes": [f"{models}:/models:ro"]}
    if docker.bridges:
        return {"services": {"worker": mount}}
    config = json.loads(docker("compose", "-f", str(COMPOSE), "config", "--format", "json"))
    command = [*config["services"]["redis"]["command"], "--bind", "127.0.0.1", "--port", str(redis_port)]
    check = config["services"]["redis"]["healthcheck"]["test"]
    check = [word.replace("redis-cli", f"redis-cli -p {redis_port}") for word in check]
    app = {"environment": {"HOST": "127.0.0.1", "PORT": str(port)}}
    return {"services": {"redis": {"command": command, "healthcheck": {"test": check}}, "app": app, "worker": mount}}


def models_folder(folder: Path) -> Path:
    """A folder with only the smallest reference model."""
    shutil.copytree(ROOT / "checkpoints" / "digits", folder / "digits")
    folder.chmod(0o755)  # for the container's user
    return folder


def run(*command: str, seconds: float, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=env, timeout=seconds, capture_output=True, text=True, check=False)


def wait(what: str, check: Callable[[], object], seconds: float = READY_SECONDS) -> None:
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


def is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def free_ports(count: int) -> list[int]:
    """Distinct unused ports."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports
