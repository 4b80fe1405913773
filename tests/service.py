"""The service as a user has it: `noisemill serve` in a process of its own, talked to over HTTP."""

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

START_SECONDS = 120.0


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: dict[str, Any]


class Service:
    """Starts, stops and kills; `log` holds what it printed."""

    def __init__(self, models: Path, state: Path, environment: dict[str, str] | None = None) -> None:
        self.models, self.state = models, state
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = state / "log"
        self.http = httpx.Client(base_url=self.url, timeout=30)
        self._environment = environment or {}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it says that it is ready."""
        command = [sys.executable, "-m", "noisemill", "serve", "--port", str(self.port)]
        command += ["--models", str(self.models), "--state", str(self.state)]
        with self.log.open("ab") as log:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"} | self._environment
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        wait_until(self.is_ready, START_SECONDS, lambda: self.log.read_text())

    def stop(self) -> None:
        """As Ctrl-C does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        assert self._process.wait(60) == 0, self.log.read_text()

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self.http.close()

    def kill(self, part: str) -> None:
        """SIGKILL to one of its processes: redis, app or worker. The supervisor lives on."""
        os.kill(self.pid(part), signal.SIGKILL)

    def pid(self, part: str) -> int:
        """The process of a part, as the kernel lists the supervisor's children."""
        assert self._process is not None
        name = {"redis": "redis", "app": "noisemill app", "worker": "noisemill worker"}[part]
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in map(int, children):
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if name in command:
                return child
        raise LookupError(f"no {part} among {children}")

    def generate(self, **body: Any) -> dict[str, Any]:
        response = self.http.post("/generate", json=body)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        view: dict[str, Any] = self.http.get(job["urls"]["job"]).json()
        return view

    def finished(self, job: dict[str, Any], seconds: float = 180) -> dict[str, Any]:
        """The job once it has ended, which must be well."""
        wait_until(lambda: self.job(job)["ended_at"] is not None, seconds, lambda: self.log.read_text())
        view = self.job(job)
        assert view["status"] == "finished", view
        return view

    def images(self, job: dict[str, Any], seconds: float = 180) -> list[bytes]:
        return [self.http.get(url).content for url in self.finished(job, seconds)["urls"]["images"]]

    def asked(self, **body: Any) -> list[bytes]:
        """Pictures as a client comes by them: it follows the job's events to the end, then takes its pictures."""
        job = self.generate(**body)
        for _ in self.events(job, seconds=3600):
            pass
        return self.images(job)

    def events(self, job: dict[str, Any], last_id: str | None = None, seconds: float = 180) -> Iterator[Event]:
        """The job's stream, as it comes, to its end."""
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
    """Started here, and stopped whatever happens."""
    try:
        service.start()
        yield service
    finally:
        service.close()


def wait_until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str] = lambda: "") -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s\n{explain()}"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
