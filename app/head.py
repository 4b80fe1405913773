"""HEAD is answered as GET is, without the body (RFC 9110, section 9.3.2)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SCOPE_KEY = "noisemill.head"


class Head:
    """Runs the GET route for HEAD, and drops the body. A route with an expensive body checks `IsHead` and skips it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_start(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body"})  # the end, also of an event stream

        await self._app({**scope, "method": "GET", SCOPE_KEY: True}, receive, send_start)


def is_head(request: Request) -> bool:
    return SCOPE_KEY in request.scope


IsHead = Annotated[bool, Depends(is_head)]
