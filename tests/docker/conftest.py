"""Fixtures: a Docker engine, the built images, and a running service."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.docker.engine import (
    BUILD_SECONDS,
    COMMAND_SECONDS,
    COMPOSE,
    ENGINE,
    ENGINE_SOCKET,
    ROOT,
    SKIP,
    Docker,
    Service,
    free_ports,
    installed_docker,
    is_listening,
    models_folder,
    override_of,
    run,
    wait,
)


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """The engine that ENGINE starts, else an installed one; skips if there is none."""
    if not ENGINE.exists():
        yield installed_docker()
        return
    started_here = not is_listening(ENGINE_SOCKET)
    try:
        script = f'exports="$({ENGINE} up)" || exit; eval "$exports"; env -0'
        done = run("bash", "-c", script, seconds=BUILD_SECONDS, env=dict(os.environ))
        if done.returncode == SKIP:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr[-3000:]
        yield Docker(dict(line.split("=", 1) for line in done.stdout.split("\0") if line), bridges=False)
    finally:
        if started_here:
            run(str(ENGINE), "down", seconds=COMMAND_SECONDS, env=dict(os.environ))


@pytest.fixture(scope="module")
def project(docker: Docker) -> Iterator[str]:
    """A unique project name, with both images built under it."""
    name = f"noisemill-test-{uuid.uuid4().hex[:8]}"
    images = {target: f"{name}-{target}" for target in ("app", "worker")}  # names that compose expects
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
        run("docker", "rmi", "-f", *images.values(), seconds=COMMAND_SECONDS, env=docker.env)  # keeps the build cache


@pytest.fixture(scope="module")
def service(docker: Docker, project: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("compose")
    models = models_folder(folder / "models")
    port, redis_port = free_ports(2)
    files = [COMPOSE, override := folder / "override.yml"]
    if docker.bridges:
        redis_port = 6379  # the default: the project has its own network
    else:
        files.insert(1, hostnet := folder / "hostnet.yml")
        hostnet.write_text(subprocess.check_output([ENGINE, "hostnet", COMPOSE], env=docker.env, text=True, timeout=60))
    override.write_text(json.dumps(override_of(docker, models, port, redis_port)))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        service = Service(docker, project, files, redis_port, http)
        try:
            service.compose("up", "-d", "--no-build")
            wait("ready", service.ready)
            yield service
        finally:
            print(service.compose("logs", "--tail", "100"))  # shown if a test failed
            service.compose("down", "-v", "--remove-orphans")
    for what in (("ps", "-a"), ("volume", "ls"), ("network", "ls")):
        resources = docker(*what, "-q", "--filter", f"label=com.docker.compose.project={project}")
        assert resources == "", f"{what} lists resources after `down -v`"
