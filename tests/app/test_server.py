"""The server's sockets."""

from __future__ import annotations

import socket
import threading

import uvicorn

from app.main import create_app
from app.server import DEAD_PEER_SECONDS, Server
from app.settings import AppSettings
from tests.app.http_helpers import wait_until


def test_accepted_connections_notice_a_dead_peer(redis_url: str) -> None:
    """A client that vanished, such as a closed laptop, would otherwise keep its event stream for over 15 minutes."""
    config = uvicorn.Config(
        create_app(AppSettings(redis_url=redis_url)), host="127.0.0.1", port=0, log_level="critical"
    )
    server = Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    address = server.servers[0].sockets[0].getsockname()
    with socket.create_connection(address, timeout=10):
        wait_until(lambda: bool(server.server_state.connections))
        [protocol] = server.server_state.connections
        accepted = protocol.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) < DEAD_PEER_SECONDS
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == DEAD_PEER_SECONDS * 1000
    server.should_exit = True
    thread.join(30)
