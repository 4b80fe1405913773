"""Frames, results and progress, out of the engine's way: one thread encodes and writes, in order."""

from __future__ import annotations

import base64
import queue
import threading
from collections.abc import Callable

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

ENVELOPE_BYTES = 200  # of a frame around its images: the names of its fields, and their numbers
BACKLOG = 1000  # writes that may wait; then the engine does, since Redis is slower than it


def shown_rows(steps: int, frames: int) -> frozenset[int]:
    """After which rows of the table a frame is shown: `frames` of them, evenly, the last row among them."""
    return frozenset(round((i + 1) * steps / frames) for i in range(frames))


class Publisher:
    """Writes what an attempt has made. Whoever lost their attempt is named in `lost`; whoever is done, in `ended`."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: queue.Queue[Callable[[], None]] = queue.Queue(BACKLOG)
        self._error: Exception | None = None
        self.lost: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        self.ended: queue.SimpleQueue[Attempt] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="publisher", daemon=True).start()

    def flush(self) -> None:
        """Returns when everything handed over has been written."""
        self._waiting.join()

    def check(self) -> None:
        """Raises what kept something from being written: the worker cannot go on, and its jobs are for another."""
        if self._error is not None:
            raise self._error

    def frame(self, attempt: Attempt, step: Step) -> None:
        """Shows a wave, as far as it lies within the job's first images."""
        count = min(len(step.x0), SHOWN_IMAGES - step.first)
        if count > 0:
            pixels = _leaving(images.to_uint8(step.x0[:count]))
            self._put(attempt, lambda: self._records.frame(attempt, _frame(attempt, step, pixels())))

    def images(self, attempt: Attempt, spec: JobSpec, step: Step) -> None:
        """Stores a finished wave."""
        pixels = _leaving(images.to_uint8(step.x0))

        def store() -> bool:
            encoded = (images.png(image, spec.recipe(step.first + i)) for i, image in enumerate(pixels()))
            return self._records.store(attempt, dict(enumerate(encoded, start=step.first)))

        self._put(attempt, store)

    def state(self, attempt: Attempt, build: str, chunks: list[Chunk]) -> None:
        """Keeps what has been begun, for whoever goes on with it."""
        self._put(attempt, lambda: self._records.save(attempt, build, [chunk.encode() for chunk in chunks]))

    def progress(self, attempt: Attempt, steps_done: int) -> None:
        self._put(attempt, lambda: self._records.progress(attempt, steps_done))

    def finish(self, attempt: Attempt, done: Done) -> None:
        """After everything handed over before: the job is done."""

        def end() -> bool:
            held = self._records.finish(attempt, done)
            if held:
                self.ended.put(attempt)
            return held

        self._put(attempt, end)

    def _put(self, attempt: Attempt, write: Callable[[], bool]) -> None:
        def run() -> None:
            if not write():
                self.lost.put(attempt)

        self._waiting.put(run)

    def _run(self) -> None:
        while True:
            write = self._waiting.get()
            try:
                if self._error is None:
                    write()
            except Exception as error:
                log.exception("cannot publish")
                self._error = error
            finally:
                self._waiting.task_done()


def _leaving(tensor: Tensor) -> Callable[[], Tensor]:
    """Starts a copy to the CPU, so that the engine goes on at once; whoever asks for it waits until it is there."""
    if tensor.device.type != "cuda":
        return lambda: tensor
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> Tensor:
        copied.synchronize()
        return host

    return wait


def _frame(attempt: Attempt, step: Step, pixels: Tensor) -> Frame:
    """As many of the images as fit one event; where not even one does, that one at half its size, and so on."""
    encoded: list[str] = []
    room = FRAME_BYTES - ENVELOPE_BYTES
    for image in pixels:
        text = base64.b64encode(images.png(image)).decode()
        room -= len(text) + len('"",')
        if room < 0:
            break
        encoded.append(text)
    if not encoded:
        return _frame(attempt, step, F.avg_pool2d(pixels[:1].float(), 2).round().to(pixels.dtype))
    return Frame(
        attempt=attempt.number,
        step=step.row,
        steps=len(step.task.table),
        timestep=step.timestep,
        first=step.first,
        images=encoded,
    )
