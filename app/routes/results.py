"""A job's results: images, the grid, the animated process, the archive."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from http import HTTPStatus
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from fastapi.responses import StreamingResponse
from redis import Redis

from app import archive, pictures
from app.deps import FilesDep, RedisDep, StoreDep
from app.errors import Problem, problems
from app.head import IsHead
from app.media import GIF, PNG, ZIP, binary
from app.routes.jobs import ExistingDep
from jobs import events
from jobs.records import Record
from jobs.schema import Frame, Status
from jobs.store import RedisStore

router = APIRouter(
    prefix="/jobs/{job_id}",
    tags=["results"],
    responses=problems(HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.SERVICE_UNAVAILABLE),
)

POSITION = re.compile("0|[1-9][0-9]{0,9}")  # one URL for each image: neither 00 nor +0

# Results never change. A shared cache may not keep them, since jobs are deleted.
HEADERS = {"Cache-Control": "private, max-age=3600, immutable"}


def finished(record: ExistingDep) -> Record:
    """The record of a finished job. Raises Problem 409."""
    if record.status is not Status.FINISHED:
        raise Problem(HTTPStatus.CONFLICT, f"job {record.id} is {record.status}: try again once it has finished")
    return record


FinishedDep = Annotated[Record, Depends(finished)]


@router.get(
    "/images/{position}.png",
    response_class=Response,
    summary="Get an image",
    responses={200: binary("The image.", PNG)},
)
def get_image(
    record: ExistingDep,
    position: Annotated[str, Path(description="0 to count - 1.", json_schema_extra={"type": "integer", "minimum": 0})],
    store: StoreDep,
) -> Response:
    """Available as soon as this image is done. Its text chunks hold the fields that reproduce it."""
    if POSITION.fullmatch(position) is None or int(position) >= record.spec.count:
        detail = f"job {record.id} has images 0 to {record.spec.count - 1}, not {position}"
        raise Problem(HTTPStatus.NOT_FOUND, detail)
    png = store.get(record.id, int(position))
    if png is None:
        raise Problem(HTTPStatus.CONFLICT, f"image {position} is not done: job {record.id} is {record.status}")
    return Response(png, media_type=PNG, headers=HEADERS)


@router.get(
    "/grid.png",
    response_class=Response,
    summary="Get all images on one sheet",
    responses={200: binary("The sheet, as square as possible.", PNG)},
)
async def get_grid(record: FinishedDep, store: StoreDep, files: FilesDep, head: IsHead) -> Response:
    """Available once the job has finished. Images are shrunk if the sheet would exceed 20 million pixels."""
    if head:
        return _without_body(PNG)
    build = partial(pictures.grid, _images(record, store), record.spec.count)
    return Response(await files.get(f"{record.id}/grid", build), media_type=PNG, headers=HEADERS)


@router.get(
    "/process.gif",
    response_class=Response,
    summary="Get the reverse process as an animation",
    responses={200: binary("x̂0 of the job's first images, frame by frame.", GIF)},
)
async def get_process(record: FinishedDep, redis: RedisDep, files: FilesDep, head: IsHead) -> Response:
    """Available once the job has finished. 409 if it was requested with `frames` 0."""
    if record.spec.frames == 0:
        raise Problem(HTTPStatus.CONFLICT, f"job {record.id} was requested with frames=0, so there is no animation")
    if head:
        return _without_body(GIF)
    build = partial(pictures.process, partial(_frames, record, redis), record.spec.count)
    return Response(await files.get(f"{record.id}/process", build), media_type=GIF, headers=HEADERS)


@router.get(
    "/images.zip",
    response_class=Response,
    summary="Get all images as an archive",
    responses={200: binary("The PNGs, and job.json with the request.", ZIP)},
)
def get_archive(record: FinishedDep, store: StoreDep, head: IsHead) -> Response:
    """Available once the job has finished. Streamed, image by image."""
    headers = {"Content-Disposition": f'attachment; filename="{record.id}.zip"'}
    if head:
        return _without_body(ZIP, headers)
    images = _images(record, store)
    first = next(images)  # a job that was just deleted is answered 404
    pngs = ((f"{position:05d}.png", png) for position, png in enumerate(chain([first], images)))
    spec = [("job.json", record.spec.model_dump_json(indent=2).encode())]
    content = archive.stream(chain(pngs, spec), record.ended_at or record.created_at)
    return StreamingResponse(content, media_type=ZIP, headers=HEADERS | headers)


def _images(record: Record, store: RedisStore) -> Iterator[bytes]:
    """The job's images, one at a time. Raises Problem 404 if the job is deleted meanwhile."""
    for position in range(record.spec.count):
        png = store.get(record.id, position)
        if png is None:
            raise Problem(HTTPStatus.NOT_FOUND, f"job {record.id} has expired")
        yield png


def _frames(record: Record, redis: Redis) -> Iterator[Frame]:
    """The job's frames. Raises Problem 404 if the job is deleted meanwhile."""
    frames = events.frames(redis, record.id)
    first = next(frames, None)
    if first is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"job {record.id} has expired")
    yield from chain([first], frames)


def _without_body(media_type: str, headers: dict[str, str] | None = None) -> Response:
    """For HEAD: the length of the body is only known once it is built (RFC 9110, section 9.3.2)."""
    return StreamingResponse(iter(()), media_type=media_type, headers=HEADERS | (headers or {}))
