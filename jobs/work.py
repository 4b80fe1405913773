"""Jobs as forecasts see them: their work and their progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from jobs.schema import Priority

# Fields of a job's record that hold its Work: those that never change, and those that are missing at first.
ALWAYS = ("model", "priority", "images", "steps", "row_steps")
MEANWHILE = ("steps_done", "images_done")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A job as forecasts see it."""

    job_id: str
    model: str
    priority: Priority
    images: int
    steps: int  # of each
    row_steps: float  # network evaluations of one image, in all
    steps_done: int  # of all images
    images_done: int

    @classmethod
    def read(cls, job_id: str, fields: list[bytes | None]) -> Self:
        """From the record's fields ALWAYS and MEANWHILE, as read from Redis."""
        model, priority, images, steps, row_steps, steps_done, images_done = (field or b"0" for field in fields)
        return cls(
            job_id=job_id,
            model=model.decode(),
            priority="batch" if priority == b"batch" else "interactive",
            images=int(images),
            steps=int(steps),
            row_steps=float(row_steps),
            steps_done=int(steps_done),
            images_done=int(images_done),
        )

    @property
    def evaluations(self) -> float:
        """Of the network, per step of one image: 2 where all are guided."""
        return self.row_steps / (self.images * self.steps)

    @property
    def row_steps_left(self) -> float:
        return self.row_steps - self.evaluations * self.steps_done


@dataclass(frozen=True, slots=True)
class Ahead:
    """Work that waits before a job."""

    jobs: int
    row_steps: dict[str, float]  # by model
