"""`noisemill serve`: Redis, the app and a worker on this machine."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from serve import redis_server
from serve.supervisor import Process, Supervisor

log = structlog.get_logger()

READY_SECONDS = 180.0  # maximum time until the service is ready
POLL_SECONDS = 0.1


class ServeError(Exception):
    """The service cannot start; the message gives the reason and the remedy."""


def serve(*, host: str, port: int, models: Path, state: Path, redis_url: str | None) -> None:
    """Runs until SIGINT or SIGTERM; jobs and results are kept in `state`. Raises ServeError and NoRedisError."""
    if not models.is_dir() or not any(models.iterdir()):
        raise ServeError(f"no model is in {models}: train or import one, or name another folder with --models")
    try:
        state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ServeError(
            f"jobs cannot be kept in {state} ({error.strerror}): name another folder with --state"
        ) from error
    url = f"http://{host}:{port}"
    with _only_one(state / "serve.lock", url):
        _check_free(host, port)
        supervisor = Supervisor(_processes(host, port, models, state, redis_url))
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: supervisor.request_stop())
        try:
            supervisor.start_all()
            _announce(supervisor, url)
            supervisor.watch()
        finally:
            log.info("stopping; jobs in progress go back to the queue")
            supervisor.stop_all()


def _processes(host: str, port: int, models: Path, state: Path, redis_url: str | None) -> list[Process]:
    noisemill = [sys.executable, "-m", "noisemill"]
    processes = []
    if redis_url is None:
        processes.append(Process("redis", redis_server.command(state)))
        redis_url = f"unix://{redis_server.socket_path(state)}"
    environment = {"NOISEMILL_REDIS_URL": redis_url}  # not in argv, which every user of the machine can read
    processes.append(Process("app", [*noisemill, "app", "--host", host, "--port", str(port)], environment))
    processes.append(Process("worker", [*noisemill, "worker", "--models", str(models)], environment))
    return processes


@contextmanager
def _only_one(path: Path, url: str) -> Iterator[None]:
    """Locks the state folder. The kernel releases the lock if the process is killed."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise ServeError(f"already running at {file.read().strip()}: stop that one first (Ctrl-C)") from error
        file.truncate(0)
        file.write(url)
        file.flush()
        yield


def _check_free(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ServeError(
                f"cannot listen on {host}:{port} ({error.strerror}): choose another with PORT=…"
            ) from error


def _announce(supervisor: Supervisor, url: str) -> None:
    """Waits until the service is ready, restarting processes that exit, and prints its address with an example."""
    deadline = time.monotonic() + READY_SECONDS
    while not supervisor.stopping and not _ready(url):
        if time.monotonic() > deadline:
            raise ServeError(f"not ready after {READY_SECONDS:.0f} s: {_reason(url)}")
        supervisor.restart_exited()
        time.sleep(POLL_SECONDS)
    if supervisor.stopping:
        return
    with urllib.request.urlopen(f"{url}/models") as response:
        names = [card["name"] for card in json.load(response)["models"]]
    model = "mnist" if "mnist" in names else names[0]
    body = json.dumps({"model": model, "count": 16, "seed": 7})
    print(f"\nNoisemill is ready: {url}   (models: {', '.join(names)})\n")
    print(f"  curl --json '{body}' {url}/generate\n\nCtrl-C stops the service; jobs and results are kept.", flush=True)


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _reason(url: str) -> str:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return "it became ready just now"
    except urllib.error.HTTPError as error:
        return str(json.load(error).get("detail", error))
    except OSError as error:
        return f"the app does not answer ({error})"
