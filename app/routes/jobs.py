"""GET /jobs, GET /jobs/{id}, DELETE /jobs/{id}."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from app.deps import RecordsDep, RedisDep, ViewerDep
from app.errors import Problem
from jobs import queue
from jobs.records import Record
from jobs.schema import JobPage, JobView

router = APIRouter(prefix="/jobs")

CURSOR = r"^[0-9]{1,12}(\.[0-9]{1,9})?:[0-9a-f]{32}$"


def existing(job_id: str, records: RecordsDep) -> Record:
    """The job's record. Raises Problem 404."""
    record = records.get(job_id)
    if record is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no job {job_id}: it never was, or its time is over")
    return record


ExistingDep = Annotated[Record, Depends(existing)]


@router.get("", summary="Jobs, newest first")
def list_jobs(
    records: RecordsDep,
    viewer: ViewerDep,
    cursor: Annotated[str | None, Query(pattern=CURSOR)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JobPage:
    """One page of jobs; `next_cursor` asks for the page after it."""
    found, next_cursor = records.page(cursor, limit)
    return JobPage(jobs=viewer.views(found), next_cursor=next_cursor)


@router.get("/{job_id}", summary="One job")
def get_job(record: ExistingDep, viewer: ViewerDep) -> JobView:
    """Its state, progress, seed, times and URLs."""
    return viewer.view(record)


@router.delete("/{job_id}", summary="Cancel a job")
def cancel_job(record: ExistingDep, redis: RedisDep, records: RecordsDep, viewer: ViewerDep) -> JobView:
    """Exactly this job, at its next step. One that has ended stays as it is: 409."""
    if not records.cancel(record.id):
        raise Problem(HTTPStatus.CONFLICT, f"job {record.id} has already ended ({existing(record.id, records).status})")
    queue.cancel(redis, record.id)
    return viewer.view(existing(record.id, records))
