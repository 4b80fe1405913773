"""The measured speed of a network, and the weights of jobs that share it."""

from __future__ import annotations

import math
from bisect import bisect_left

from jobs.schema import Contract, Priority

ADMISSION_SHARE = 1 / 4  # share of the slots that a job without images in a full batch may still enter with
RESERVE = 3  # extra capacity for such jobs, in multiples of the slots; images that do not move only cost memory
# Extra share of time for a job that fills the slots, over a job of a single image. At equal shares it would keep half
# of its rate, less the cost of small batches.
BULK_BONUS = 0.1
MAX_RIDER_SLOWDOWN = 0.05  # maximum slowdown of a step that free-riding rows may add
BATCH_SHARE = 1 / 4  # time share of a job of the class `batch`, relative to an interactive job


class Pace(Contract):
    """Duration of a batch as a function of its rows."""

    rows: list[int]  # ascending; the last is the batch size
    seconds: list[float]  # per batch of `rows` rows
    slots: int  # maximum number of images that move in one step
    drift: float = 1.0  # ratio of recent step durations to the measured ones
    ready_seconds: float = 0.0  # time to compile and load, as last measured; 0 once the model is ready

    @property
    def batch(self) -> int:
        return self.rows[-1]

    @property
    def admission_limit(self) -> int:
        """Maximum number of images with which a job enters a full batch that holds none of its images."""
        return math.ceil(self.slots * ADMISSION_SHARE)

    @property
    def reserve(self) -> int:
        """Capacity beyond the slots, for jobs that enter a full batch."""
        return self.slots * RESERVE

    def of(self, rows: float) -> float:
        """Seconds for this many rows, split into batches; linear between the measured sizes."""
        whole, rest = divmod(rows, self.batch)
        return self.drift * (whole * self.seconds[-1] + (self._interpolated(rest) if rest else 0.0))

    def _interpolated(self, rows: float) -> float:
        upper = bisect_left(self.rows, rows)
        if upper == 0:
            return self.seconds[0]
        lower = upper - 1
        share = (rows - self.rows[lower]) / (self.rows[upper] - self.rows[lower])
        return self.seconds[lower] + share * (self.seconds[upper] - self.seconds[lower])


def weight(priority: Priority, images: int, slots: int) -> float:
    """Relative share of a model's time for a job with this many images."""
    share = 1.0 if priority == "interactive" else BATCH_SHARE
    return share * (1 + BULK_BONUS * min(1.0, images / slots))
