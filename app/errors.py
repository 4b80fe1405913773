"""Errors as application/problem+json (RFC 9457), each saying what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
REDIS_RETRY_SECONDS = 2
LONGEST_TEXT = 500
MOST_ERRORS = 10
BRANCHES = ("int", "str")  # pydantic's names for the kinds that a label may be; no field is called so


class Problem(Exception):
    """Ends a request. `errors` names fields: {"field": …, "detail": what is wrong, "allowed": what is right}."""

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, errors, headers

    def response(self) -> JSONResponse:
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": _quoted(self.detail),
        }
        if self.errors:
            body["errors"] = [
                {name: _quoted(text) for name, text in error.items()} for error in self.errors[:MOST_ERRORS]
            ]
        return JSONResponse(body, self.status.value, self.headers, MEDIA_TYPE)


def _quoted(text: str) -> str:
    """What a client sent may stand in its error: never longer than it need be, and always something UTF-8 can say."""
    cut = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    return cut.encode(errors="replace").decode()


def install(app: FastAPI) -> None:
    """Answers every kind of failure with a problem document."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RedisConnectionError, _no_redis)
    app.add_exception_handler(RedisTimeoutError, _no_redis)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [_field_error(each) for each in error.errors()[:MOST_ERRORS]]
    detail = "; ".join(f"{each['field']}: {each['detail']}" for each in errors)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors).response()


def _field_error(error: dict[str, Any]) -> dict[str, str]:
    """One of pydantic's errors, its location as a dotted path below the body, query or header."""
    if error["type"] == "json_invalid":
        return {
            "field": "body",
            "detail": f"not valid JSON: {error['ctx']['error']}",
            "allowed": "a JSON object",
        }
    path = ".".join(str(part) for part in error["loc"][1:] if part not in BRANCHES)
    if not path:
        return {"field": "body", "detail": error["msg"], "allowed": "a JSON object"}
    allowed = ", ".join(f"{name} {value}" for name, value in error.get("ctx", {}).items() if name != "error")
    return {"field": path, "detail": error["msg"], "allowed": allowed or error["msg"]}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers) if error.headers else None
    detail = f"{request.method} {request.url.path}: {error.detail}; /docs lists what there is"
    if error.status_code == HTTPStatus.BAD_REQUEST:  # FastAPI gave up on it, and does not say why
        detail = (
            "the body cannot be read: send one JSON object in UTF-8, not deep, and no number of thousands of digits"
        )
    return Problem(HTTPStatus(error.status_code), detail, headers=headers).response()


async def _no_redis(request: Request, error: Exception) -> JSONResponse:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Redis cannot be reached just now; nothing was changed. Try again.",
        headers={"Retry-After": str(REDIS_RETRY_SECONDS)},
    ).response()


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the log of the app says more").response()
