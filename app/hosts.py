"""Checks the Host header against DNS rebinding, where a foreign page's name resolves to this service's address."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Set
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import Problem

ANY = "*"
LOOPBACK = "localhost"
HOST = re.compile(r"(?:(?P<name>[a-z0-9._-]+?)\.?|\[(?P<v6>[0-9a-f:.]+)\])(?::[0-9]*)?")


class AllowedHosts:
    """Answers 421 unless the Host is an IP address, a loopback name, or one of `names`.

    Rebinding needs a name, so IP addresses are safe: health checks and clients on a LAN need no setting.
    """

    def __init__(self, app: ASGIApp, names: Set[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_allowed(host := Headers(scope=scope).get("host", ""), self._names):
            await self._app(scope, receive, send)
            return
        problem = Problem(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"this service does not answer to the host {host}: "
            f"add its name to NOISEMILL_ALLOWED_HOSTS, or use an IP address or localhost",
        )
        await problem.response()(scope, receive, send)


def is_allowed(host: str, names: Set[str]) -> bool:
    """Whether this Host is allowed. An HTTP/1.0 client, which cannot be a browser, may send none."""
    if not host or ANY in names:
        return True
    found = HOST.fullmatch(host.lower())
    if found is None:
        return False
    name = found["name"] or found["v6"]
    labels = name.split(".")
    wildcards = {f"*.{'.'.join(labels[i:])}" for i in range(1, len(labels))}
    return _is_address(name) or labels[-1] == LOOPBACK or name in names or bool(names & wildcards)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
