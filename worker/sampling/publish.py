"""Writes frames, images, progress and saved state to Redis, in order, from a background thread."""

from __future__ import annotations

import base64
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

import structlog
import torch
import torch.nn.functional as F
from torch import Tensor

from jobs.records import Attempt, Records
from jobs.schema import FRAME_BYTES, SHOWN_IMAGES, Done, Frame, JobSpec
from model import images
from worker.sampling.chunks import Chunk
from worker.sampling.engine import Step

log = structlog.get_logger()

ENVELOPE_BYTES = 200  # maximum size of a frame's JSON without its images
MAX_BACKLOG_BYTES = 64 * 2**20  # maximum size of pending writes; beyond it the engine waits for Redis
WRITE_BYTES = 1024  # overhead counted for each write in addition to its tensors


def shown_rows(steps: int, frames: int) -> frozenset[int]:
    """The `frames` rows of a table after which a frame is shown, evenly spaced; the last row is one of them."""
    return frozenset(round((i + 1) * steps / frames) for i in range(frames))


class Backlog:
    """A queue of writes, bounded by the bytes of their tensors. A single write may exceed the bound."""

    def __init__(self) -> None:
        self._writes: deque[tuple[Callable[[], None], int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()

    def put(self, write: Callable[[], None], size: int) -> None:
        size += WRITE_BYTES
        with self._changed:
            self._changed.wait_for(lambda: self._bytes == 0 or self._bytes + size <= MAX_BACKLOG_BYTES)
            self._bytes += size
            self._writes.append((write, size))
            self._changed.notify_all()

    def run_next(self) -> None:
        """Waits for the oldest write and runs it; its bytes count until it returns."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._writes))
            write, size = self._writes.popleft()
        write()
        del write  # frees the tensors
        with self._changed:
            self._bytes -= size
            self._changed.notify_all()

    def join(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._bytes == 0)


class Publisher:
    """Writes what attempts have computed.

    lost   attempts whose write was refused: they no longer hold their job
    ended  attempts whose `done` was written
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._backlog = Backlog()
        self._error: Exception | None = None
        self.lost: SimpleQueue[Attempt] = SimpleQueue()
        self.ended: SimpleQueue[Attempt] = SimpleQueue()
        threading.Thread(target=self._run, name="publisher", daemon=True).start()

    def flush(self) -> None:
        """Waits until everything has been written."""
        self._backlog.join()

    def check(self) -> None:
        """Raises the error of a failed write. Nothing is written after it, so that `done` never follows a gap."""
        if self._error is not None:
            raise self._error

    def frame(self, attempt: Attempt, step: Step) -> None:
        """Shows those of a wave's images that are among the job's first SHOWN_IMAGES."""
        count = min(len(step.x0), SHOWN_IMAGES - step.first)
        if count > 0:
            shown = images.to_uint8(step.x0[:count])
            pixels, of = _copied_to_cpu(shown), _frame_of(attempt, step)
            self._put(attempt, lambda: self._records.frame(attempt, of(_encoded(pixels()))), shown.nbytes)

    def images(self, attempt: Attempt, spec: JobSpec, build: str, step: Step) -> None:
        """Stores a finished wave."""
        finished, first = images.to_uint8(step.x0), step.first
        pixels = _copied_to_cpu(finished)

        def store() -> bool:
            encoded = (images.png(image, spec.recipe(first + i, build)) for i, image in enumerate(pixels()))
            return self._records.store(attempt, dict(enumerate(encoded, start=first)))

        self._put(attempt, store, finished.nbytes)

    def state(self, attempt: Attempt, build: str, chunks: list[Chunk]) -> None:
        """Saves the state of unfinished images, from which a later attempt resumes."""
        size = sum(chunk.nbytes for chunk in chunks)
        self._put(attempt, lambda: self._records.save(attempt, build, [chunk.encode() for chunk in chunks]), size)

    def progress(self, attempt: Attempt, steps_done: int) -> None:
        self._put(attempt, lambda: self._records.progress(attempt, steps_done))

    def finish(self, attempt: Attempt, done: Done) -> None:
        """Ends the job, after all earlier writes."""

        def end() -> bool:
            written = self._records.finish(attempt, done)
            if written:
                self.ended.put(attempt)
            return written

        self._put(attempt, end)

    def _put(self, attempt: Attempt, write: Callable[[], bool], size: int = 0) -> None:
        def run() -> None:
            try:
                if self._error is None and not write():
                    self.lost.put(attempt)
            except Exception as error:
                log.exception("cannot publish", job=attempt.job_id)
                self._error = error

        self._backlog.put(run, size)

    def _run(self) -> None:
        while True:
            self._backlog.run_next()


def _copied_to_cpu(tensor: Tensor) -> Callable[[], Tensor]:
    """Starts an asynchronous copy to the CPU; calling the result waits for it."""
    if tensor.device.type != "cuda":
        return lambda: tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> Tensor:
        copied.synchronize()
        return host

    return wait


def _frame_of(attempt: Attempt, step: Step) -> Callable[[list[str]], Frame]:
    """Returns a function from encoded images to a step's frame. It holds no tensor of the step."""
    number, row, rows, timestep, first = attempt.number, step.row, len(step.task.table), step.timestep, step.first
    return lambda encoded: Frame(attempt=number, step=row, steps=rows, timestep=timestep, first=first, images=encoded)


def _encoded(pixels: Tensor) -> list[str]:
    """As many images as fit into one event. If none fits, the first one at half its size, halved again as needed."""
    encoded: list[str] = []
    available = FRAME_BYTES - ENVELOPE_BYTES
    for image in pixels:
        text = base64.b64encode(images.png(image)).decode()
        available -= len(text) + len('"",')
        if available < 0:
            break
        encoded.append(text)
    if not encoded:
        return _encoded(F.avg_pool2d(pixels[:1].float(), 2).round().to(pixels.dtype))
    return encoded
