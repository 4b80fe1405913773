"""GET /jobs, GET /jobs/{job_id}, DELETE /jobs/{job_id}."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query

from app import examples
from app.deps import RecordsDep, RedisDep, ViewerDep
from app.errors import Problem, problems
from jobs import queue
from jobs.records import Record
from jobs.schema import JobPage, JobView

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))

CURSOR = r"^[0-9]{1,12}(\.[0-9]{1,9})?:[0-9a-f]{32}$"


def existing(job_id: Annotated[str, Path(description="Id of a job.")], records: RecordsDep) -> Record:
    """The job's record. Raises Problem 404."""
    record = records.get(job_id)
    if record is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no job {job_id}: the id is wrong, or the job has expired")
    return record


ExistingDep = Annotated[Record, Depends(existing)]


@router.get("", summary="List jobs, newest first", responses=problems(HTTPStatus.UNPROCESSABLE_ENTITY))
def list_jobs(
    records: RecordsDep,
    viewer: ViewerDep,
    cursor: Annotated[str | None, Query(pattern=CURSOR, description="`next_cursor` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs a page.")] = 20,
) -> JobPage:
    found, next_cursor = records.page(cursor, limit)
    return JobPage(jobs=viewer.views(found), next_cursor=next_cursor)


@router.get(
    "/{job_id}",
    summary="Get a job",
    responses={
        **problems(HTTPStatus.NOT_FOUND),
        200: {"content": examples.json_example(examples.FINISHED_JOB)},
    },
)
def get_job(record: ExistingDep, viewer: ViewerDep) -> JobView:
    """Status, progress, seed, times and URLs."""
    return viewer.view(record)


@router.delete(
    "/{job_id}",
    summary="Cancel a job",
    responses={
        **problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT),
        200: {"content": examples.json_example(examples.CANCELED_JOB)},
    },
)
def cancel_job(record: ExistingDep, redis: RedisDep, records: RecordsDep, viewer: ViewerDep) -> JobView:
    """Cancels this job, and no other; if it is running, at its next step. 409 if it has ended."""
    if not records.cancel(record.id):
        raise Problem(HTTPStatus.CONFLICT, f"job {record.id} has already ended ({existing(record.id, records).status})")
    queue.cancel(redis, record.id)
    return viewer.view(existing(record.id, records))
