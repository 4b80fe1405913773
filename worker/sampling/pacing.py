"""Measures the pace of a network once per machine, saves it beside the compiled code, and tracks drift from it."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import ValidationError

from jobs.pace import Pace
from jobs.schema import SHOWN_IMAGES

SUFFICIENT_RATE = 0.98  # the smallest batch with this share of the best rate is used: larger ones delay all jobs
QUICK_SECONDS = 0.1  # if the smallest batch takes at most this long, slots hold all images of a frame
MIN_BATCH = 16  # minimum rows, unless they are slow: on a busy machine small batches measure as fast as large ones
MIN_REPEATS, MAX_REPEATS = 2, 5  # repeats of each size; stop after the minimum once MEASURING_SECONDS have passed
MEASURING_SECONDS = 1.0
LONG_SECONDS = 0.3  # stop at the first batch size that takes longer
DRIFT_SECONDS = 10.0  # time constant of the average of step durations
CONTRADICTED = 0.5  # below this ratio of actual to expected time, the pace was measured wrongly
CONTRADICTED_SECONDS = 4.0  # minimum expected time of the steps behind such a ratio


@dataclass(slots=True)
class Drift:
    """Exponential averages of a network's step durations and of the durations that its pace expects."""

    actual: float = 1.0  # seconds
    expected: float = 1.0

    def add(self, seconds: float, expected: float) -> None:
        recent = math.exp(-seconds / DRIFT_SECONDS)
        self.actual, self.expected = self.actual * recent + seconds, self.expected * recent + expected

    @property
    def ratio(self) -> float:
        return self.actual / self.expected

    @property
    def contradicts_pace(self) -> bool:
        return self.expected > CONTRADICTED_SECONDS and self.ratio < CONTRADICTED


def recall(network: str) -> Pace | None:
    """The pace saved for `network`, a text of everything it depends on; None if there is none."""
    path = _path(network)
    with suppress(OSError, ValidationError):
        if path is not None:
            return Pace.model_validate_json(path.read_text())
    return None


def keep(network: str, pace: Pace) -> None:
    """Saves a pace for later starts, if TORCHINDUCTOR_CACHE_DIR is set."""
    path = _path(network)
    with suppress(OSError):  # on a full or read-only disk the next start measures again
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pace.model_dump_json())


def _path(network: str) -> Path | None:
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return None if folder is None else Path(folder) / "pace" / f"{hashlib.sha256(network.encode()).hexdigest()}.json"


def measured(seconds_of: Callable[[int], float], smallest: int, largest: int) -> Pace:
    """Measures batches from `smallest` to `largest` rows; the pace ends at the smallest with SUFFICIENT_RATE.

    seconds_of  runs a batch of so many rows, and returns its duration
    """
    durations: dict[int, float] = {}
    for rows in _sizes(smallest, largest):
        try:
            durations[rows] = _fastest(seconds_of, rows)
        except torch.OutOfMemoryError:
            if not durations:
                raise
            break
        if durations[rows] > LONG_SECONDS:
            break
    rates = {rows: rows / seconds for rows, seconds in durations.items() if rows >= min(MIN_BATCH, max(durations))}
    batch = next(rows for rows, rate in rates.items() if rate >= SUFFICIENT_RATE * max(rates.values()))
    kept = {rows: seconds for rows, seconds in durations.items() if rows <= batch}
    min_slots = SHOWN_IMAGES if kept[smallest] <= QUICK_SECONDS else 1
    return Pace(rows=list(kept), seconds=list(kept.values()), slots=min(largest, max(batch, min_slots)))


def _sizes(smallest: int, largest: int) -> Iterator[int]:
    rows = smallest
    while rows < largest:
        yield rows
        rows *= 2
    yield max(smallest, largest)


def _fastest(seconds_of: Callable[[int], float], rows: int) -> float:
    """Minimum duration of several runs, to exclude other work of the machine."""
    durations = list[float]()
    while len(durations) < MIN_REPEATS or (len(durations) < MAX_REPEATS and sum(durations) < MEASURING_SECONDS):
        durations.append(seconds_of(rows))
    return min(durations)
