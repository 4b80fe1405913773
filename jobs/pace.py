"""How long a network takes, as a worker measured it, and the weights of jobs that share it."""

from __future__ import annotations

import math
from bisect import bisect_left

from jobs.schema import Contract, Priority

ADMISSION_SHARE = 1 / 4  # of the slots: images that a job without any in the batch may let in where it is full
RESERVE = 3  # times the slots, for jobs that enter so: images that do not move cost memory only
# A job that fills the slots gets this much more time than one of a single image. At equal shares it would keep half
# of its rate, less the cost of small batches.
BULK_BONUS = 0.1
MAX_RIDER_SLOWDOWN = 0.05  # maximum slowdown of a step that free-riding rows may add
BATCH_SHARE = 1 / 4  # time of a job of the class `batch` over that of an interactive one beside it


class Pace(Contract):
    """Duration of a batch by its rows."""

    rows: list[int]  # rising; the last is the batch size
    seconds: list[float]
    slots: int  # images that may move at once
    drift: float = 1.0  # recent duration of steps over what was measured
    ready_seconds: float = 0.0  # until the model is ready, by the last time; 0 once it is

    @property
    def batch(self) -> int:
        return self.rows[-1]

    @property
    def admission_limit(self) -> int:
        """Images that a job without any in the batch may let in where the slots are full."""
        return math.ceil(self.slots * ADMISSION_SHARE)

    @property
    def reserve(self) -> int:
        """Images beside the slots, of jobs that entered where these were full."""
        return self.slots * RESERVE

    def of(self, rows: float) -> float:
        """Seconds of so many rows, in as many batches as they take; linear between the measured sizes."""
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
    """Relative share of a model's time of a job with so many images."""
    share = 1.0 if priority == "interactive" else BATCH_SHARE
    return share * (1 + BULK_BONUS * min(1.0, images / slots))
