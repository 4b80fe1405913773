"""Factories of real cards, specs, jobs and frames, with defaults."""

from __future__ import annotations

import dataclasses
from typing import Any

from redis import Redis

from jobs.records import Attempt, Record, Records
from jobs.schema import Frame, JobSpec, ModelCard, Queued

_ids = iter(range(1, 1 << 62))

CARD = ModelCard(
    name="tiny",
    digest="d" * 64,
    created_at="2026-01-01T00:00:00+00:00",
    image_size=8,
    channels=1,
    classes=["zero", "one", "two", "three"],
    null_class=4,
    num_train_timesteps=1000,
    samplers=["ddpm", "ddpm_beta"],
    max_count=100,
    guidance_scale=1.5,
    sampler="ddpm",
    steps=1000,
    thresholding="static",
    build="any",
    data={},
    training={},
    metrics={},
)
SPEC = JobSpec(
    model="tiny",
    digest="d" * 64,
    count=4,
    first_index=0,
    seed=7,
    steps=10,
    sampler="ddpm",
    spacing="trailing",
    eta=None,
    thresholding="static",
    start=1000,
    image=None,
    labels=[0, 1, 2, 3],
    null_class=4,
    guidance_scale=1.5,
    frames=5,
)


def card(**fields: Any) -> ModelCard:
    return CARD.model_copy(update=fields)


def spec(**fields: Any) -> JobSpec:
    labels = [position % 4 for position in range(fields.get("count", SPEC.count))]
    return SPEC.model_copy(update={"labels": labels} | fields)


def queued(redis: Redis, created_at: float | None = None, **fields: Any) -> Record:
    """A queued job as the app writes it, without its RQ job."""
    record = Record.new(f"{next(_ids):032x}", spec(**fields))
    if created_at is not None:
        record = dataclasses.replace(record, created_at=created_at)
    with redis.pipeline() as pipeline:
        Records(redis).create(record, Queued(position=0, eta_seconds=None), pipeline)
        pipeline.execute()
    return record


def running(redis: Redis, **fields: Any) -> Attempt:
    """A running job."""
    attempt = Records(redis).begin(queued(redis, **fields).id)
    assert attempt is not None
    return attempt


def frame(attempt: Attempt, step: int = 1, first: int = 0, images: list[str] | None = None) -> Frame:
    images = ["iVBORw0KGgo="] if images is None else images
    return Frame(attempt=attempt.number, step=step, steps=10, timestep=999, first=first, images=images)
