"""Consecutive images of a job at one row of their table, new or saved by an earlier attempt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import safetensors.torch
import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Chunk:
    """`count` images of a job, from `first` on, with `row` rows of the table done.

    x, x0  (count, C, H, W) float32: the images at that row, and x̂0 of the previous row; None if not begun
    """

    first: int
    count: int
    row: int = 0
    x: Tensor | None = None
    x0: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in (self.x, self.x0) if tensor is not None)

    def cut(self, start: int, stop: int) -> Chunk:
        """The part with the job's images `start` to `stop` - 1, all of which must be in this chunk."""
        chunk = replace(self, first=start, count=stop - start)
        if self.x is None or self.x0 is None:
            return chunk
        inside = slice(start - self.first, stop - self.first)
        return replace(chunk, x=self.x[inside], x0=self.x0[inside])

    def encode(self) -> bytes:
        """Serialized as safetensors; the chunk must have been begun."""
        assert self.x is not None
        assert self.x0 is not None
        tensors = {"x": self.x, "x0": self.x0, "place": torch.tensor([self.first, self.row])}
        return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})

    @classmethod
    def decode(cls, data: bytes) -> Chunk:
        tensors = safetensors.torch.load(data)
        first, row = tensors["place"].tolist()
        return cls(first, len(tensors["x"]), row, tensors["x"], tensors["x0"])


def remaining(count: int, done: Iterable[int], kept: Iterable[Chunk]) -> list[Chunk]:
    """Remaining images of a job of `count` images: those in `kept` resume there, the others start anew."""
    missing, chunks = set(range(count)) - set(done), []
    for chunk in kept:
        chunks += [chunk.cut(*run) for run in _runs(missing & set(range(chunk.first, chunk.first + chunk.count)))]
    for chunk in chunks:
        missing -= set(range(chunk.first, chunk.first + chunk.count))
    return chunks + [Chunk(start, stop - start) for start, stop in _runs(missing)]


def _runs(positions: set[int]) -> Iterator[tuple[int, int]]:
    """Start and stop of each run of consecutive numbers."""
    for _, group in groupby(enumerate(sorted(positions)), lambda pair: pair[1] - pair[0]):
        run = [position for _, position in group]
        yield run[0], run[-1] + 1
