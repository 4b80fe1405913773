"""For whoever runs the service: health, readiness, numbers."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.deps import RecordsDep, RedisDep
from app.errors import Problem
from app.metrics import ServiceCollector
from jobs import models

router = APIRouter()


@router.get("/healthz", summary="Whether this process answers")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/readyz", summary="Whether jobs would be run")
def readyz(redis: RedisDep) -> dict[str, int | str]:
    """200 when Redis answers and a live worker has published a card."""
    workers, cards = models.live_workers(redis), models.cards(redis)
    if not workers or not cards:
        what = "no worker is alive" if not workers else "no worker serves a model"
        raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{what}: jobs would wait", headers={"Retry-After": "5"})
    return {"status": "ready", "workers": workers, "models": len(cards)}


@router.get("/metrics", response_class=Response, summary="Prometheus")
def metrics(redis: RedisDep, records: RecordsDep) -> Response:
    registry = CollectorRegistry()
    registry.register(ServiceCollector(redis, records))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
