"""A running app, checks of problem documents, and clients of event streams."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
import uvicorn
from redis import Redis

from app.main import create_app
from app.server import Server
from app.settings import AppSettings
from jobs import keys


@contextmanager
def serving(host: str = "127.0.0.1", **settings: Any) -> Iterator[str]:
    """Runs an app in a thread, configured as with `--host`; yields its URL."""
    app = create_app(AppSettings(**settings))
    config = uvicorn.Config(app, host=host, log_level="critical", lifespan="on", ws="none", timeout_graceful_shutdown=1)
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.01)


def generate(http: httpx.Client, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """Queues a job and returns its view."""
    response = http.post("/generate", json=body, headers=headers)
    assert response.status_code == 202, response.text
    answer: dict[str, Any] = response.json()
    return answer


def jobs_in(redis: Redis) -> int:
    return int(redis.zcard(keys.JOBS))


def assert_problem(response: httpx.Response, status: int, named: str | None = None, allowed: str = "") -> None:
    """Checks a problem document (RFC 9457, section 3.1); `named` is the field at fault."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["title"] == HTTPStatus(status).phrase
    assert len(problem["detail"]) > 10
    fields = {error["field"] for error in problem.get("errors", [])}
    assert fields == (set() if named is None else {named})
    for error in problem.get("errors", []):
        assert allowed in error["allowed"]
        assert error["detail"]


@dataclass(frozen=True)
class Event:
    id: str
    type: str
    data: dict[str, Any]
    at: float = field(default_factory=time.monotonic, compare=False)


def events(http: httpx.Client, url: str, last_id: str | None = None) -> Iterator[Event]:
    """Yields the events of a stream until the server ends it (HTML standard, section 9.2.6)."""
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    with http.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in response.iter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
            elif "data" in fields:
                yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
                fields = {}


class Watcher:
    """A client that follows a job in a thread."""

    def __init__(self, http: httpx.Client, job: dict[str, Any]) -> None:
        self.seen: list[Event] = []
        self._thread = threading.Thread(target=self._run, args=(http, job["urls"]["events"]), daemon=True)
        self._thread.start()

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def all(self) -> list[Event]:
        """Waits for the end of the stream; returns all events."""
        self._thread.join(60)
        assert self.ended
        return self.seen

    def _run(self, http: httpx.Client, url: str) -> None:
        for event in events(http, url):
            self.seen.append(event)
