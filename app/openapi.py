"""The OpenAPI document that FastAPI derives from the routes, with the format of errors corrected."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from app.errors import MEDIA_TYPE

TAGS = [
    {"name": "jobs", "description": "Queue a job, follow it, cancel it."},
    {"name": "results", "description": "Images of a job."},
    {"name": "models", "description": "The models being served."},
    {"name": "operations", "description": "Health and metrics."},
]
ASSUMED = ("HTTPValidationError", "ValidationError")  # schemas of FastAPI's own errors, which are never sent


def operation_id(route: APIRoute) -> str:
    """The name of the route's function: generated clients name their methods after it."""
    return route.name


def install(app: FastAPI) -> None:
    """Sets `app.openapi`, which computes the document once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _corrected(
                get_openapi(
                    title=app.title, version=app.version, summary=app.summary, routes=app.routes, tags=app.openapi_tags
                )
            )
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _corrected(document: dict[str, Any]) -> dict[str, Any]:
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"] = dict(sorted(map(_response, operation["responses"].items())))
            if ASSUMED[0] in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in ASSUMED:
        document["components"]["schemas"].pop(name, None)
    return document


def _response(item: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """Declares errors as MEDIA_TYPE; FastAPI declares them with the media type of the route's other responses."""
    status, response = item
    if int(status) >= 400:
        [declared] = response["content"].values()
        response["content"] = {MEDIA_TYPE: {"schema": declared["schema"]}}
    return status, response
