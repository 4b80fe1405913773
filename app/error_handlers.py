"""Exception handlers: every error is answered with a problem document that says what to do."""

from __future__ import annotations

from difflib import get_close_matches
from http import HTTPMethod, HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from app.errors import MAX_ERRORS, Problem
from app.expected import expected
from jobs.schema import GenerateRequest

REDIS_RETRY_SECONDS = 2
FIELDS = GenerateRequest.model_json_schema()["properties"]
UNREADABLE_BODY = (
    "the body cannot be read: send one JSON object in UTF-8, without deep nesting and without numbers of "
    "thousands of digits"
)


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RedisConnectionError, _redis_unreachable)
    app.add_exception_handler(RedisTimeoutError, _redis_unreachable)
    app.add_exception_handler(Exception, _unexpected)


async def _problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    parameters = _parameters(request.app)
    by_field: dict[Any, dict[str, Any]] = {}
    for each in error.errors():  # a field of several types has an error for each of them
        by_field.setdefault(each["loc"][:2], each)
    errors = [_field_error(each, parameters) for each in [*by_field.values()][:MAX_ERRORS]]
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(each["detail"] for each in errors), errors=errors
    ).response()


def _field_error(error: dict[str, Any], parameters: dict[str, Any]) -> dict[str, str]:
    """One of pydantic's errors in plain English; its location is ("body", field, …) or ("query", name)."""
    place, *path = error["loc"]
    if error["type"] == "json_invalid":
        detail = f"the body is not valid JSON: {error['ctx']['error']} at character {path[0]}"
        return {"field": "body", "detail": detail, "allowed": "a JSON object"}
    if not path:
        return {"field": "body", "detail": "the body must be a JSON object", "allowed": "a JSON object"}
    name = str(path[0])
    if error["type"] == "extra_forbidden":
        return _unknown_field(name)
    allowed = expected((FIELDS if place == "body" else parameters)[name])
    return {"field": name, "detail": f"{name} must be {allowed}", "allowed": allowed}


def _unknown_field(name: str) -> dict[str, str]:
    similar = get_close_matches(name, FIELDS, n=1)
    hint = f": did you mean {similar[0]}?" if similar else ""
    return {"field": name, "detail": f"{name} is not a field{hint}", "allowed": f"one of {', '.join(FIELDS)}"}


def _parameters(app: FastAPI) -> dict[str, Any]:
    """The schemas of all parameters and headers, by name; a name has the same schema in every route."""
    operations = [operation for path in app.openapi()["paths"].values() for operation in path.values()]
    parameters = [parameter for operation in operations for parameter in operation.get("parameters", ())]
    return {parameter["name"]: parameter["schema"] for parameter in parameters}


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
    detail = error.detail
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_methods(request))
        detail = f"{request.url.path} does not take {request.method}; it takes {headers['Allow']}"
    elif status is HTTPStatus.NOT_FOUND:
        detail = f"there is no {request.url.path}; /docs lists the routes"
    elif status is HTTPStatus.BAD_REQUEST:  # FastAPI could not read the body and does not say why
        detail = UNREADABLE_BODY
    return Problem(status, detail, headers=headers).response()


def _methods(request: Request) -> list[str]:
    """The methods that the path allows, over all its routes; HEAD where GET is allowed (`app.head`)."""
    taken = [method.value for method in HTTPMethod if _is_routed(request, method)]
    return sorted({*taken, "HEAD"} if "GET" in taken else taken)


def _is_routed(request: Request, method: HTTPMethod) -> bool:
    scope = {**request.scope, "method": method.value, "root_path": ""}
    routes = [route for route in request.app.routes if route.matches(dict(scope))[0] is Match.FULL]
    return any(method is HTTPMethod.GET or not isinstance(route, Mount) for route in routes)  # mounts serve files


async def _redis_unreachable(request: Request, error: Exception) -> JSONResponse:
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Redis cannot be reached; try again. A POST that is repeated with its Idempotency-Key is queued once.",
        headers={"Retry-After": str(REDIS_RETRY_SECONDS)},
    ).response()


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "an unexpected error; the app's log has the traceback").response()
