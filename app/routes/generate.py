"""POST /generate."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from app import examples
from app.deps import RecordsDep, RedisDep, SettingsDep, ViewerDep, WatchDep
from app.errors import Problem, problems
from app.routes.jobs import existing
from app.submit import submit
from jobs.schema import GenerateRequest, JobView

router = APIRouter(tags=["jobs"])

MAX_WAIT_SECONDS = 60
MAX_KEY_LENGTH = 255


def _text_header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


HEADERS = {
    "Location": _text_header("URL of the job."),
    "Preference-Applied": _text_header("`wait=…`, if the request preferred to wait."),
    "Idempotency-Replayed": _text_header("`true`, if an earlier request with this key queued the job."),
}
RESPONSES = {
    **problems(
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
    200: {
        "model": JobView,
        "description": "The job has ended within the time of `Prefer: wait`.",
        "headers": HEADERS,
        "content": examples.json_example(examples.FINISHED_JOB),
    },
    202: {
        "description": "The job is queued or running.",
        "headers": HEADERS,
        "content": examples.json_example(examples.QUEUED_JOB),
    },
}


def only_json(request: Request) -> None:
    """Requires JSON: without CORS preflight, another site's page can post a form or plain text here, but not JSON."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")


async def unique_keys(request: Request) -> None:
    """Raises Problem 422 if a key occurs twice, and 400 unless the body is UTF-8; Python's parser accepts both."""
    try:
        text = (await request.body()).decode()
    except UnicodeDecodeError as error:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from error
    with suppress(json.JSONDecodeError):  # FastAPI reports it
        json.loads(text, object_pairs_hook=_refuse_duplicates)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names = Counter(name for name, _ in pairs)
    for name, times in names.items():
        if times > 1:
            detail = f"the body has the key {name} {times} times"
            error = {"field": name, "detail": detail, "allowed": "each key once"}
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=[error])


# Dependencies run before the body is validated, so that its media type is checked first.
@router.post(
    "/generate",
    status_code=HTTPStatus.ACCEPTED,
    summary="Queue a job",
    dependencies=[Depends(only_json), Depends(unique_keys)],
    responses=RESPONSES,
)
async def generate(
    response: Response,
    body: Annotated[GenerateRequest, Body(openapi_examples=examples.REQUESTS)],
    redis: RedisDep,
    records: RecordsDep,
    settings: SettingsDep,
    viewer: ViewerDep,
    watch: WatchDep,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=MAX_KEY_LENGTH,
            description="A repeated request with the same key and body finds the job of the first.",
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(alias="Prefer", description="`wait=10` waits up to 10 s (at most 60) for the job's end.")
    ] = None,
) -> JobView:
    """Answers 202 with the job's view, or 200 if the job has ended within the time of `Prefer: wait`."""
    accepted = await run_in_threadpool(submit, body, idempotency_key, redis, records, settings)
    if wait := _wait_seconds(prefer):
        response.headers["Preference-Applied"] = f"wait={wait}"
        with suppress(TimeoutError):
            await asyncio.wait_for(watch.ended(accepted.job_id), wait)
    view = await run_in_threadpool(lambda: viewer.view(existing(accepted.job_id, records)))
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    if view.status.ended:
        response.status_code = HTTPStatus.OK
    response.headers["Location"] = view.urls.job
    return view


def _wait_seconds(prefer: str | None) -> int:
    """The `wait` of a Prefer header (RFC 7240, section 4.3), at most MAX_WAIT_SECONDS."""
    found = re.search(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})', prefer or "", re.IGNORECASE)
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else 0
