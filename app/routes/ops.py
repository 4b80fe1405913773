"""Health, readiness and metrics."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import BaseModel

from app.deps import RecordsDep, RedisDep
from app.errors import Problem, problems
from app.metrics import ServiceCollector
from jobs import models

router = APIRouter(tags=["operations"])


class Health(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    workers: int
    models: int


@router.get("/healthz", summary="Liveness of this process")
async def healthz() -> Health:
    """200 if this process responds; does not check Redis."""
    return Health(status="ok")


@router.get("/readyz", summary="Readiness of the service", responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))
def readyz(redis: RedisDep) -> Readiness:
    """200 if Redis responds and a live worker has published a model."""
    workers, cards = models.live_workers(redis), models.cards(redis)
    if not workers or not cards:
        reason = "no worker is alive" if not workers else "no worker serves a model"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{reason}: jobs would wait", headers={"Retry-After": "5"})
    return Readiness(status="ready", workers=workers, models=len(cards))


@router.get(
    "/metrics",
    response_class=Response,
    summary="Metrics for Prometheus",
    responses={
        **problems(HTTPStatus.SERVICE_UNAVAILABLE),
        200: {
            "description": "The text format of Prometheus.",
            "content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}},
        },
    },
)
def metrics(redis: RedisDep, records: RecordsDep) -> Response:
    """Read from Redis at each request, so that all app processes report the same."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(redis, records))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
