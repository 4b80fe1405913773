"""A TCP proxy to Redis that simulates network failures: half-open connections and lost replies."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

CHUNK = 1 << 16


class RedisProxy:
    """Forwards to the Redis at a Unix socket."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._generation = 0
        self._lose_answer_to: bytes | None = None
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._sockets = [self._listening]
        self._threads: list[threading.Thread] = []
        self.url = f"redis://127.0.0.1:{self._listening.getsockname()[1]}/0"

    def freeze(self) -> None:
        """Present connections stay open but carry no more data; new ones work."""
        self._generation += 1

    def lose_answer_to(self, command: bytes) -> None:
        """Forwards the next request that contains `command`, and closes its connection before the answer."""
        self._lose_answer_to = command

    def run(self) -> None:
        with suppress(OSError):  # the listening socket was shut down
            while True:
                client, _ = self._listening.accept()
                server = socket.socket(socket.AF_UNIX)
                self._sockets += [client, server]
                server.connect(self._path)
                for source, target, requests in ((client, server, True), (server, client, False)):
                    self._start(self._forward, source, target, self._generation, requests)

    def __enter__(self) -> RedisProxy:
        self._start(self.run)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            with suppress(OSError):  # not connected any more
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _forward(self, source: socket.socket, target: socket.socket, generation: int, requests: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                if generation != self._generation:
                    continue
                lost = requests and self._lose_answer_to is not None and self._lose_answer_to in chunk
                if lost:
                    self._lose_answer_to = None
                    source.shutdown(socket.SHUT_RDWR)
                target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)
