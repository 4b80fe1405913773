"""Limits on request bodies: their size, and the time that a client may take to send one."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from fastapi import HTTPException
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Problem

BODY_SECONDS = 30.0  # maximum time for a client to send a body


class BodyLimit:
    """Answers 413 to a body over `max_bytes`, and 408 to one that is not complete after `seconds`."""

    def __init__(self, app: ASGIApp, max_bytes: int, seconds: float = BODY_SECONDS) -> None:
        self._app, self._max_bytes, self._seconds = app, max_bytes, seconds
        self._too_large = f"the body is larger than {max_bytes} bytes (NOISEMILL_MAX_BODY_BYTES)"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            problem = Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large)
            await problem.response()(scope, receive, send)
            return
        await self._app(scope, self._limited(receive), send)

    def _limited(self, receive: Receive) -> Receive:
        deadline = asyncio.get_running_loop().time() + self._seconds
        received, complete = 0, False

        async def limited() -> Message:
            nonlocal received, complete
            if complete:  # the next message is the disconnection, which may come much later
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                detail = f"the body was not complete after {self._seconds:.0f} s"
                raise HTTPException(HTTPStatus.REQUEST_TIMEOUT, detail) from error
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._max_bytes:
                # FastAPI turns all other exceptions during the reading of a body into status 400.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large)
            return message

        return limited
