"""Periodic tasks, and a connection to Redis that survives outages."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis

from jobs import keys
from tests.jobs.killable_redis import KillableRedis
from worker.main import connect
from worker.periodic import Periodic


def test_task_that_raises_is_called_again_and_others_go_on() -> None:
    failures, beats, enough = [], [], threading.Event()

    def fail() -> None:
        failures.append(1)
        raise RuntimeError("fails")

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            enough.set()

    periodic = Periodic("test", 0.01, [fail, beat])
    assert enough.wait(10)
    periodic.close()
    assert len(failures) == len(beats)
    time.sleep(0.05)
    assert len(failures) == len(beats)


def test_command_waits_out_an_outage_of_redis(tmp_path: Path) -> None:
    with KillableRedis(tmp_path) as killable_redis, connect(killable_redis.url) as redis:
        redis.set(keys.QUEUE, "kept")
        killable_redis.kill()
        restart = threading.Timer(1.0, killable_redis.start)
        restart.start()
        began = time.monotonic()
        assert redis.get(keys.QUEUE) == b"kept"
        assert time.monotonic() - began > 0.5
        restart.join()


class Proxy:
    """Forwards a TCP port to a Redis socket. Connections in `silent` drop all data, as if their host had vanished."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self.silent: set[int] = set()  # numbers of the connections that drop all data
        self._count = 0
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._path)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    arguments = (self._count, source, target)
                    threading.Thread(target=self._forward, args=arguments, daemon=True).start()
                self._count += 1

    def _forward(self, number: int, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if number not in self.silent:
                    target.sendall(data)

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # ends the threads that read it
            each.close()


def test_half_open_connection_is_replaced(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.main.REPLY_TIMEOUT_SECONDS", 0.5)
    proxy = Proxy(redis_url.removeprefix("unix://"))
    answered: list[bytes | None] = []
    with connect(proxy.url) as client:
        client.set("key", "value")
        proxy.silent.add(0)
        reader = threading.Thread(target=lambda: answered.append(client.get("key")), daemon=True)
        reader.start()
        reader.join(10)
    proxy.close()
    assert answered == [b"value"]
