"""Sampling without a service: the same engine, the same bytes."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.schema import JobSpec
from worker.catalog import Model
from worker.engine import Engine, Step, Task


def sample(model: Model, spec: JobSpec, slots: int) -> Iterator[Step]:
    """Every wave after every step of its table; the steps that are `last` hold the images. Sum them for progress."""
    engine = Engine(model.network, model.shape, slots)
    engine.add(Task.of("offline", spec, model.checkpoint.schedule, model.card.channels))
    while not engine.idle:
        yield from engine.step()
