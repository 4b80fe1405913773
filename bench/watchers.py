"""A watcher of a job's events that uses little CPU, since many run during a measurement."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.service import Service


async def watch(service: Service, job: dict[str, Any]) -> list[str]:
    """The ids of a job's events, until the stream ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1 << 20)
    writer.write(f"GET {job['urls']['events']} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    ids = []
    async for line in reader:
        if line.startswith(b"id: "):
            ids.append(line[4:].strip().decode())
    writer.close()
    return ids
