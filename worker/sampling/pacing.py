"""How many rows make the best batch: measured once for a network on a machine, and remembered beside compiled code.

And whether steps still take as long as was measured.
"""

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

ENOUGH = 0.98  # of the best rate: a larger batch makes everyone wait longer for little
QUICK_SECONDS = 0.1  # a step that takes no longer leaves room for all images that are watched together
FEWEST = 16  # rows, where they are not slow: measured beside other work, small batches look as good as any
LEAST_TIMES, MOST_TIMES = 2, 5  # that a size is measured: the least, once that has taken MEASURING_SECONDS
MEASURING_SECONDS = 1.0
LONG_SECONDS = 0.3  # no larger step than one that takes so long is measured
DRIFT_SECONDS = 10.0  # over about how long the time of steps is averaged
CONTRADICTED = 0.5  # of the time that steps should take: where they take less, that was measured wrongly
CONTRADICTED_SECONDS = 4.0  # that steps should have taken, before anything is made of it


@dataclass(slots=True)
class Drift:
    """How long a network's steps take of late, and should by its pace; at first, one that took what it should."""

    took: float = 1.0  # seconds
    should: float = 1.0

    def add(self, seconds: float, expected: float) -> None:
        recent = math.exp(-seconds / DRIFT_SECONDS)
        self.took, self.should = self.took * recent + seconds, self.should * recent + expected

    @property
    def ratio(self) -> float:
        return self.took / self.should

    @property
    def contradicts_pace(self) -> bool:
        return self.should > CONTRADICTED_SECONDS and self.ratio < CONTRADICTED


def recall(network: str) -> Pace | None:
    """What was measured of `network`, which is all that its speed depends on, in words; None where nothing was."""
    path = _path(network)
    with suppress(OSError, ValidationError):
        if path is not None:
            return Pace.model_validate_json(path.read_text())
    return None


def keep(network: str, pace: Pace) -> None:
    """Remembers what was measured, where there is a folder for it."""
    path = _path(network)
    with suppress(OSError):  # a disk that is full or not to be written on costs the next start a second
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(pace.model_dump_json())


def _path(network: str) -> Path | None:
    folder = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    return None if folder is None else Path(folder) / "pace" / f"{hashlib.sha256(network.encode()).hexdigest()}.json"


def measured(seconds_of: Callable[[int], float], smallest: int, most: int) -> Pace:
    """The pace up to the fewest rows that come near the best rate, of batches from `smallest` to `most` rows.

    seconds_of  runs a batch of so many rows, and says how long it took
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
    rates = {rows: rows / seconds for rows, seconds in taken.items() if rows >= min(FEWEST, max(taken))}
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
    """Of a few: what else the machine does is not ours to count."""
    taken = list[float]()
    while len(taken) < LEAST_TIMES or (len(taken) < MOST_TIMES and sum(taken) < MEASURING_SECONDS):
        taken.append(seconds_of(rows))
    return min(taken)
