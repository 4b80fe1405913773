"""The best batch size, measured once per network and machine and kept beside compiled code; and drift from it."""

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

ENOUGH = 0.98  # of the best rate: a larger batch delays all jobs for little
QUICK_SECONDS = 0.1  # where the smallest batch takes no longer, slots hold all images of a frame
MIN_BATCH = 16  # rows, unless they are slow: measured beside other work, small batches look as good as any
MIN_REPEATS, MAX_REPEATS = 2, 5  # of each size; stop after the minimum once MEASURING_SECONDS have passed
MEASURING_SECONDS = 1.0
LONG_SECONDS = 0.3  # larger batches than one that takes longer are not measured
DRIFT_SECONDS = 10.0  # time constant of the average of step durations
CONTRADICTED = 0.5  # ratio of actual to expected time below which the pace was measured wrongly
CONTRADICTED_SECONDS = 4.0  # expected time of the steps that such a ratio must cover


@dataclass(slots=True)
class Drift:
    """Recent duration of a network's steps, and what its pace expects; initially equal."""

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
    """The pace that was kept for `network`, a text of everything it depends on; None if there is none."""
    path = _path(network)
    with suppress(OSError, ValidationError):
        if path is not None:
            return Pace.model_validate_json(path.read_text())
    return None


def keep(network: str, pace: Pace) -> None:
    """Saves a pace for later starts, if a folder for compiled code is set."""
    path = _path(network)
    with suppress(OSError):  # on a full or read-only disk the next start measures again
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pace.model_dump_json())


def _path(network: str) -> Path | None:
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return None if folder is None else Path(folder) / "pace" / f"{hashlib.sha256(network.encode()).hexdigest()}.json"


def measured(seconds_of: Callable[[int], float], smallest: int, most: int) -> Pace:
    """The pace up to the smallest batch near the best rate, of batches from `smallest` to `most` rows.

    seconds_of  runs a batch of so many rows, and returns its duration
    """
    taken: dict[int, float] = {}
    for rows in _sizes(smallest, most):
        try:
            taken[rows] = _fastest(seconds_of, rows)
        except torch.OutOfMemoryError:
            if not taken:
                raise
            break
        if taken[rows] > LONG_SECONDS:
            break
    rates = {rows: rows / seconds for rows, seconds in taken.items() if rows >= min(MIN_BATCH, max(taken))}
    batch = next(rows for rows, rate in rates.items() if rate >= ENOUGH * max(rates.values()))
    kept = {rows: seconds for rows, seconds in taken.items() if rows <= batch}
    together = SHOWN_IMAGES if kept[smallest] <= QUICK_SECONDS else 1
    return Pace(rows=list(kept), seconds=list(kept.values()), slots=min(most, max(batch, together)))


def _sizes(smallest: int, most: int) -> Iterator[int]:
    rows = smallest
    while rows < most:
        yield rows
        rows *= 2
    yield max(smallest, most)


def _fastest(seconds_of: Callable[[int], float], rows: int) -> float:
    """Minimum of several runs, to exclude other work of the machine."""
    taken = list[float]()
    while len(taken) < MIN_REPEATS or (len(taken) < MAX_REPEATS and sum(taken) < MEASURING_SECONDS):
        taken.append(seconds_of(rows))
    return min(taken)
