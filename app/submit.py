"""Accepts a request: validates it, fills in defaults, and queues it in one transaction."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from dataclasses import dataclass
from http import HTTPStatus

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import WatchError

from app.errors import Problem
from app.forecast import Forecast
from app.settings import AppSettings
from jobs import keys, models, queue
from jobs.records import Record, Records
from jobs.resolve import FieldError, choose, resolve
from jobs.schema import GenerateRequest, JobSpec, Queued
from jobs.start_image import check_start_image


@dataclass(frozen=True, slots=True)
class Accepted:
    job_id: str
    replayed: bool


def submit(
    request: GenerateRequest,
    idempotency_key: str | None,
    redis: Redis,
    records: Records,
    settings: AppSettings,
) -> Accepted:
    """Queues a job, or finds the one that was queued with this Idempotency-Key. Raises Problem."""
    fingerprint = hashlib.sha256(json.dumps(request.model_dump(exclude_unset=True)).encode()).hexdigest()
    key = None if idempotency_key is None else keys.idempotency(idempotency_key)
    job_id = uuid.uuid4().hex
    while True:
        try:
            with redis.pipeline() as pipeline:
                # If the reply to EXEC is lost, redis-py raises WatchError, since the watched keys have changed. The
                # next iteration then finds the job.
                pipeline.watch(keys.job(job_id), *([] if key is None else [key]))
                if pipeline.exists(keys.job(job_id)):
                    return Accepted(job_id, replayed=False)
                if key is not None and (earlier := _earlier(pipeline.get(key), records)):
                    return _replay(earlier, fingerprint)
                return _enqueue(job_id, request, key, fingerprint, pipeline, redis, records, settings)
        except WatchError:
            continue


def _earlier(answer: bytes | None, records: Records) -> dict[str, str] | None:
    """The first answer to an Idempotency-Key, unless its job has been deleted since."""
    earlier: dict[str, str] | None = None if answer is None else json.loads(answer)
    return earlier if earlier is not None and records.get(earlier["job_id"]) else None


def _replay(earlier: dict[str, str], fingerprint: str) -> Accepted:
    if earlier["fingerprint"] != fingerprint:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was used with another body: use a new key for a new request",
            errors=[{"field": "Idempotency-Key", "detail": "used with another body", "allowed": "a new key"}],
        )
    return Accepted(earlier["job_id"], replayed=True)


def _enqueue(
    job_id: str,
    request: GenerateRequest,
    key: str | None,
    fingerprint: str,
    pipeline: Pipeline,
    redis: Redis,
    records: Records,
    settings: AppSettings,
) -> Accepted:
    record = Record.new(job_id, _spec(request, redis))
    waiting = records.waiting()
    if waiting >= settings.max_queued:
        seconds = Forecast.now(redis, records).start_seconds()
        raise Problem(
            HTTPStatus.TOO_MANY_REQUESTS,
            f"the queue is full with {waiting} jobs: try again after the seconds in Retry-After",
            headers={"Retry-After": str(max(1, math.ceil(seconds)))},
        )
    forecast = Forecast.now(redis, records, [record])
    queued = Queued(position=forecast.position(record.id) or 0, eta_seconds=forecast.seconds(record.work))
    keep = int(settings.keep_days * 86400)
    pipeline.multi()
    records.create(record, queued, pipeline)
    if key is not None:
        pipeline.set(key, json.dumps({"fingerprint": fingerprint, "job_id": record.id}), ex=keep)
    queue.enqueue(redis, record, keep, pipeline)
    pipeline.execute()
    return Accepted(record.id, replayed=False)


def _spec(request: GenerateRequest, redis: Redis) -> JobSpec:
    cards = models.cards(redis)
    if not cards:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "no worker has published a model yet: start a worker, or wait until it has loaded its models",
            headers={"Retry-After": "5"},
        )
    try:
        card = choose(request.model, cards)
        if request.image is not None:
            check_start_image(request.image, card)
        return resolve(request, card)
    except FieldError as error:
        errors = [{"field": error.field, "detail": str(error), "allowed": error.allowed}]
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), errors=errors) from error
