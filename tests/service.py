"""The service as users run it: `noisemill serve` in a subprocess, used over HTTP."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from serve import redis_server

START_SECONDS = 120.0


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: dict[str, Any]


class Service:
    """Starts, stops and kills the service; `log` is the file of its output."""

    def __init__(self, models: Path, state: Path, environment: dict[str, str] | None = None) -> None:
        self.models, self.state = models, state
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = state / "log"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def redis_url(self) -> str:
        """The embedded Redis."""
        return f"unix://{redis_server.socket_path(self.state)}"

    def start(self) -> None:
        """Starts the service and waits until /readyz answers 200."""
        command = [sys.executable, "-m", "noisemill", "serve", "--port", str(self.port)]
        command += ["--models", str(self.models), "--state", str(self.state)]
        with self.log.open("ab") as log:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"} | self._environment
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        wait_until(self.is_ready, START_SECONDS, lambda: self.log.read_text())

    def stop(self) -> None:
        """Sends SIGINT, as Ctrl-C does, and expects exit status 0."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(60) == 0, self.log.read_text()

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self.http.close()

    def kill(self, part: str) -> None:
        """Sends SIGKILL to redis, app or worker. The supervisor keeps running."""
        os.kill(self.pid(part), signal.SIGKILL)

    def pid(self, part: str) -> int:
        """The process id of redis, app or worker."""
        assert self._process is not None
        name = {"redis": "redis", "app": "noisemill app", "worker": "noisemill worker"}[part]
        commands = children(self._process.pid)
        for child, command in commands.items():
            if name in command:
                return child
        raise LookupError(f"no {part} in {commands}")

    def generate(self, **body: Any) -> dict[str, Any]:
        response = self.http.post("/generate", json=body)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        response = self.http.get(job["urls"]["job"])
        assert response.status_code == 200, response.text
        view: dict[str, Any] = response.json()
        return view

    def finished(self, job: dict[str, Any], seconds: float = 180) -> dict[str, Any]:
        """Waits for the job's end; fails unless its status is `finished`."""
        wait_until(lambda: self.job(job)["ended_at"] is not None, seconds, lambda: self.log.read_text())
        view = self.job(job)
        assert view["status"] == "finished", view
        return view

    def images(self, job: dict[str, Any], seconds: float = 180) -> list[bytes]:
        return [self.http.get(url).content for url in self.finished(job, seconds)["urls"]["images"]]

    def fetch_images(self, **body: Any) -> list[bytes]:
        """The PNGs of a new job, fetched as a client does: follow the events to the end, then get each image."""
        job = self.generate(**body)
        for _ in self.events(job, seconds=3600):
            pass
        return self.images(job)

    def events(self, job: dict[str, Any], last_id: str | None = None, seconds: float = 180) -> Iterator[Event]:
        """The job's events, until the stream ends."""
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        with self.http.stream("GET", job["urls"]["events"], headers=headers, timeout=seconds) as response:
            assert response.status_code == 200
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif not line and "event" in fields:
                    yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                    fields = {}

    def is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False


@contextmanager
def running(service: Service) -> Iterator[Service]:
    """The service, started on entry and stopped on exit."""
    try:
        service.start()
        yield service
    finally:
        service.close()


def children(pid: int) -> dict[int, str]:
    """The command lines of a process's children, by process id."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {int(child): Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode() for child in found}


def wait_until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"condition not met within {seconds} s\n{explain()}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
