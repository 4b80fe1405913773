"""Problem documents (RFC 9457): their schema, the exception that is answered with one, and its use in OpenAPI."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

MEDIA_TYPE = "application/problem+json"
MAX_TEXT = 500  # characters
MAX_ERRORS = 10


class FieldProblem(BaseModel):
    field: str = Field(description="Name of the field, parameter or header; `body` for the body as a whole.")
    detail: str = Field(description="What is wrong.")
    allowed: str = Field(description="What is allowed.")


class ProblemDetails(BaseModel):
    """An error, as RFC 9457 describes it."""

    type: str = "about:blank"
    title: str = Field(description="The status in words.")
    status: int
    detail: str = Field(description="What went wrong, and what to do.")
    errors: list[FieldProblem] | None = Field(None, description="The fields at fault, at most 10.")


class Problem(Exception):
    """Ends a request with a problem document. `errors` have the fields of FieldProblem."""

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
            "detail": _printable(self.detail),
        }
        if self.errors:
            body["errors"] = [
                {name: _printable(text) for name, text in error.items()} for error in self.errors[:MAX_ERRORS]
            ]
        return JSONResponse(body, self.status.value, self.headers, MEDIA_TYPE)


RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait before trying again.", "schema": {"type": "integer"}}}
_WHEN = {
    HTTPStatus.BAD_REQUEST: "The body cannot be read at all, such as one that is not UTF-8.",
    HTTPStatus.NOT_FOUND: "There is no such job, image, model or figure; or the job has expired.",
    HTTPStatus.REQUEST_TIMEOUT: "The body took too long to arrive.",
    HTTPStatus.CONFLICT: "Not yet (the job has not come so far), or no longer (the job has ended).",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The body is larger than NOISEMILL_MAX_BODY_BYTES.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is not application/json.",
    HTTPStatus.MISDIRECTED_REQUEST: "The Host is not in NOISEMILL_ALLOWED_HOSTS.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field, parameter or header is not allowed; `errors` names it.",
    HTTPStatus.TOO_MANY_REQUESTS: "The queue is full.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An unexpected error; the app's log has the traceback.",
    HTTPStatus.SERVICE_UNAVAILABLE: "Redis cannot be reached, or no worker has published a model.",
}
_WITH_RETRY_AFTER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


def problems(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`, for these problem statuses."""
    return {
        status.value: {
            "model": ProblemDetails,
            "description": _WHEN[status],
            **({"headers": RETRY_AFTER} if status in _WITH_RETRY_AFTER else {}),
        }
        for status in statuses
    }


def _printable(text: str) -> str:
    """Cut to MAX_TEXT, without characters that UTF-8 cannot encode: errors may quote a client's text."""
    cut = text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    return cut.encode(errors="replace").decode()
