"""How fast a model is: what a worker has measured, and what forecasts are made from."""

from __future__ import annotations

import math
from bisect import bisect_left

from jobs.schema import Contract, Priority

ADMISSION_SHARE = 1 / 4  # of the slots: what a job that has no image under way may take where they are full
RESERVE = 3  # times the slots, for jobs that enter so: images that do not move cost memory alone
# A job that fills the slots is given this much more time than one of a single image. At equal shares it would keep
# half of its rate, less what small batches cost.
BULK_BONUS = 0.1
MAX_RIDER_SLOWDOWN = 0.05  # of a step's time: what all who ride along may cost those whose turn it is
BATCH_SHARE = 1 / 4  # of the time of an interactive job: what one of the class `batch` is given beside it


class Pace(Contract):
    """How long a network takes over a batch, by its rows."""

    rows: list[int]  # rising; the last is the most in one batch
    seconds: list[float]
    slots: int  # images that may be under way at once
    drift: float = 1.0  # recent duration of steps over what was measured
    ready_seconds: float = 0.0  # until the model is ready, by the last time; 0 once it is

    @property
    def batch(self) -> int:
        return self.rows[-1]

    @property
    def admission_limit(self) -> int:
        """Images that a job without any under way may let in where the slots are full."""
        return math.ceil(self.slots * ADMISSION_SHARE)

    @property
    def reserve(self) -> int:
        """Images beside the slots, of jobs that have entered so."""
        return self.slots * RESERVE

    def of(self, rows: float) -> float:
        """Seconds for so many rows, in as many batches as they take: between what was measured, by a straight line."""
        whole, rest = divmod(rows, self.batch)
        return self.drift * (whole * self.seconds[-1] + (self._part(rest) if rest else 0.0))

    def _part(self, rows: float) -> float:
        upper = bisect_left(self.rows, rows)
        if upper == 0:
            return self.seconds[0]
        lower = upper - 1
        share = (rows - self.rows[lower]) / (self.rows[upper] - self.rows[lower])
        return self.seconds[lower] + share * (self.seconds[upper] - self.seconds[lower])


def weight(priority: Priority, images: int, slots: int) -> float:
    """The share of a model's time that a job is given beside others, with so many of its images under way."""
    share = 1.0 if priority == "interactive" else BATCH_SHARE
    return share * (1 + BULK_BONUS * min(1.0, images / slots))
