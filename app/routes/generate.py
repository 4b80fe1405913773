"""POST /generate."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from app.deps import RecordsDep, RedisDep, SettingsDep, ViewerDep, WatchDep
from app.errors import Problem
from app.submit import submit
from app.view import Viewer
from app.watch import Watch
from jobs.events import START
from jobs.records import Records
from jobs.schema import GenerateRequest, JobView

router = APIRouter()

MAX_WAIT_SECONDS = 60
MAX_KEY_LENGTH = 255


def _only_json(request: Request) -> None:
    """A page elsewhere can post a form or plain text to localhost unasked, but not this."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")


# As a dependency, the media type is looked at before the body is held against the request's schema.
@router.post("/generate", status_code=HTTPStatus.ACCEPTED, summary="Ask for images", dependencies=[Depends(_only_json)])
async def generate(
    response: Response,
    body: Annotated[GenerateRequest, Body()],
    redis: RedisDep,
    records: RecordsDep,
    settings: SettingsDep,
    viewer: ViewerDep,
    watch: WatchDep,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=MAX_KEY_LENGTH)] = None,
    prefer: Annotated[str | None, Header()] = None,
) -> JobView:
    """Queues a job: 202 and where to look. With `Prefer: wait=10` waits that long for its end: 200 if it came."""
    accepted = await run_in_threadpool(submit, body, idempotency_key, redis, records, settings)
    wait = _wait_seconds(prefer)
    if wait:
        response.headers["Preference-Applied"] = f"wait={wait}"
        with suppress(TimeoutError):
            await asyncio.wait_for(_ended(watch, accepted.job_id), wait)
    view = await run_in_threadpool(_view, accepted.job_id, records, viewer)
    if accepted.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    if view.status.ended:
        response.status_code = HTTPStatus.OK
    response.headers["Location"] = view.urls.job
    return view


def _wait_seconds(prefer: str | None) -> int:
    """The `wait` of a Prefer header (RFC 7240, section 4.3), at most a minute."""
    found = re.search(r'(?:^|[,;\s])wait\s*=\s*"?(\d{1,6})', prefer or "", re.IGNORECASE)
    return min(int(found[1]), MAX_WAIT_SECONDS) if found else 0


async def _ended(watch: Watch, job_id: str) -> None:
    async for _ in watch.follow(job_id, START):
        pass


def _view(job_id: str, records: Records, viewer: Viewer) -> JobView:
    record = records.get(job_id)
    if record is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"job {job_id} has been forgotten: its time to be kept is over")
    return viewer.view(record)
