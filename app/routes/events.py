"""GET /jobs/{job_id}/events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app import examples
from app.deps import WatchDep
from app.errors import Problem, problems
from app.routes.jobs import ExistingDep
from jobs.events import START, is_event_id

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))


def resume_from(
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", description="Id of the last event received; resumes after it.")
    ] = None,
) -> str:
    """The id after which the stream starts. Raises Problem 422 if it is not an event id."""
    if last_event_id is not None and not is_event_id(last_event_id):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Last-Event-ID is not the id of an event of this stream",
            errors=[{"field": "Last-Event-ID", "detail": "not the id of an event", "allowed": "an id that was sent"}],
        )
    return last_event_id or START


@router.get(
    "/{job_id}/events",
    response_class=EventSourceResponse,
    summary="Follow a job",
    responses={
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY),
        200: {"description": "The events.", "content": {"text/event-stream": {"example": examples.EVENTS}}},
    },
)
async def job_events(
    record: ExistingDep, last_id: Annotated[str, Depends(resume_from)], watch: WatchDep
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: `queued`, `started`, `frame` …, and finally `done`, `failed` or `canceled`.

    The events can also be read after the job has ended. A comment is sent every 15 s while there is no event.
    """
    async for event in watch.follow(record.id, last_id):
        yield ServerSentEvent(id=event.id, event=event.type.value, raw_data=event.data)
