"""What a job has made: images, the grid, the process, the archive."""

from __future__ import annotations

import io
import re
import zipfile
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from app import pictures
from app.deps import RedisDep, StoreDep
from app.errors import Problem
from app.routes.jobs import existing
from jobs import events
from jobs.records import Record
from jobs.schema import Status

router = APIRouter(prefix="/jobs/{job_id}")

POSITION = re.compile("0|[1-9][0-9]{0,9}")  # one address each: not 00, nor +0

# A finished job's results never change; a shared cache may not keep them, since jobs are forgotten.
HEADERS = {"Cache-Control": "private, max-age=3600, immutable"}

ExistingDep = Annotated[Record, Depends(existing)]


def finished(record: ExistingDep) -> Record:
    """The record of a job that has finished. Raises Problem 409 for one that has not."""
    if record.status is not Status.FINISHED:
        detail = f"job {record.id} is {record.status}: this is there once it has finished"
        raise Problem(HTTPStatus.CONFLICT, detail)
    return record


FinishedDep = Annotated[Record, Depends(finished)]


@router.get("/images/{position}.png", response_class=Response, summary="One image")
def image(record: ExistingDep, position: str, store: StoreDep) -> Response:
    """As PNG, with what reproduces it in its text chunks. There as soon as this image is done."""
    if POSITION.fullmatch(position) is None or int(position) >= record.spec.count:
        detail = f"job {record.id} has images 0 to {record.spec.count - 1}, not {position}"
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    png = store.get(record.id, int(position))
    if png is None:
        raise Problem(HTTPStatus.CONFLICT, f"image {position} is not there: job {record.id} is {record.status}")
    return Response(png, media_type="image/png", headers=HEADERS)


@router.get("/grid.png", response_class=Response, summary="All images on one sheet")
def grid(record: FinishedDep, store: StoreDep) -> Response:
    images = store.get_all(record.id)
    return Response(pictures.grid(list(images.values())), media_type="image/png", headers=HEADERS)


@router.get("/process.gif", response_class=Response, summary="The reverse process, animated")
def process(record: FinishedDep, redis: RedisDep) -> Response:
    """x̂0 of the job's first images, frame by frame."""
    frames = events.frames(redis, record.id)
    if not frames:
        raise Problem(HTTPStatus.CONFLICT, f"job {record.id} was asked for with frames=0, so there is no process")
    return Response(pictures.process(frames, record.spec.count), media_type="image/gif", headers=HEADERS)


@router.get("/images.zip", response_class=Response, summary="All images as an archive")
def archive(record: FinishedDep, store: StoreDep) -> Response:
    """The PNGs, and job.json with what was asked."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as into:  # PNGs are compressed already
        for position, png in store.get_all(record.id).items():
            into.writestr(f"{position:05d}.png", png)
        into.writestr("job.json", record.spec.model_dump_json(indent=2))
    headers = {**HEADERS, "Content-Disposition": f'attachment; filename="{record.id}.zip"'}
    return Response(buffer.getvalue(), media_type="application/zip", headers=headers)
