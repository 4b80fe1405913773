"""GET /jobs/{id}/events."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from fastapi.sse import EventSourceResponse, ServerSentEvent

from app.deps import WatchDep
from app.errors import Problem
from app.routes.jobs import existing
from jobs.events import START, is_event_id
from jobs.records import Record

router = APIRouter(prefix="/jobs")


def resume_from(last_event_id: Annotated[str | None, Header()] = None) -> str:
    """Where the stream goes on. Raises Problem where Last-Event-ID is not one of ours."""
    if last_event_id is not None and not is_event_id(last_event_id):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Last-Event-ID is not the id of an event of this stream",
            errors=[{"field": "Last-Event-ID", "detail": "not an event's id", "allowed": "an id that was sent"}],
        )
    return last_event_id or START


@router.get("/{job_id}/events", response_class=EventSourceResponse, summary="Watch a job")
async def stream(
    record: Annotated[Record, Depends(existing)],
    last_id: Annotated[str, Depends(resume_from)],
    watch: WatchDep,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events: queued, started, frame …, and one of done, failed, canceled. Works after the fact too."""
    async for event in watch.follow(record.id, last_id):
        yield ServerSentEvent(id=event.id, event=event.type.value, raw_data=event.data)
