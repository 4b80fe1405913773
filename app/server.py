"""uvicorn with three changes: allows its own host name, detects dead clients, and ends event streams at shutdown."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

# A client that vanished without closing its connection is detected after 25 s of silence (KEEPIDLE + CNT * INTVL), or
# once sent data has not been acknowledged for 25 s. Linux's defaults are 2 hours and 15 minutes.
DEAD_PEER_SECONDS = 25
KEEPALIVE = {
    "TCP_KEEPIDLE": 10,
    "TCP_KEEPINTVL": 5,
    "TCP_KEEPCNT": 3,
    "TCP_USER_TIMEOUT": DEAD_PEER_SECONDS * 1000,
}


class Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._app.state.host_names.add(self.config.host.lower())
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:  # accepted connections inherit its options
                if listening.family in (socket.AF_INET, socket.AF_INET6):
                    _keep_alive(listening)

    @property
    def _app(self) -> FastAPI:
        app = self.config.app
        assert isinstance(app, FastAPI)
        return app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.watch.close()
        super().handle_exit(sig, frame)


def _keep_alive(listening: socket.socket) -> None:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEPALIVE.items():
        if hasattr(socket, name):  # not every system has all of them
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
