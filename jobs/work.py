"""A job's work and progress, as forecasts need them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from jobs.schema import Priority

# Fields of a job's record, in the order that Work.read expects.
CONSTANT_FIELDS = ("model", "priority", "images", "steps", "row_steps")
PROGRESS_FIELDS = ("steps_done", "images_done")  # missing until the first progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """The size of a job, and how much of it is done."""

    job_id: str
    model: str
    priority: Priority
    images: int
    steps: int  # per image
    row_steps: float  # network evaluations, counted per image
    steps_done: int  # summed over the images
    images_done: int

    @classmethod
    def read(cls, job_id: str, fields: list[bytes | None]) -> Self:
        """Parses the record's CONSTANT_FIELDS and PROGRESS_FIELDS, as read from Redis."""
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
        """Network evaluations per step of an image, on average: 2 if all images are guided."""
        return self.row_steps / (self.images * self.steps)

    @property
    def row_steps_left(self) -> float:
        return self.row_steps - self.evaluations * self.steps_done


@dataclass(frozen=True, slots=True)
class Ahead:
    """Work that waits before a job."""

    jobs: int
    row_steps: dict[str, float]  # by model
