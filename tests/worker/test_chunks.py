"""Remaining images of a job: each that is not done, exactly once."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.sampling.chunks import Chunk, remaining


def kept(first: int, count: int, row: int = 3) -> Chunk:
    x = torch.arange(first, first + count).float()[:, None, None, None].expand(-1, 1, 2, 2)
    return Chunk(first, count, row, x, -x)


def test_decode_returns_the_encoded_chunk() -> None:
    chunk = kept(5, 3)
    again = Chunk.decode(chunk.encode())
    assert (again.first, again.count, again.row) == (5, 3, 3)
    assert again.x is not None
    assert again.x0 is not None
    assert torch.equal(again.x, chunk.x)
    assert torch.equal(again.x0, chunk.x0)


def test_new_job_is_one_chunk() -> None:
    assert remaining(7, [], []) == [Chunk(0, 7)]


def test_finished_job_has_no_remaining_chunks() -> None:
    assert remaining(3, [0, 1, 2], [kept(0, 3)]) == []


@given(st.data())
def test_each_image_is_done_or_remaining_once_and_continues_from_its_kept_chunk(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 20))
    done = data.draw(st.sets(st.integers(0, count - 1)))
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=6)))
    chunks = [kept(start, stop - start) for start, stop in list(pairwise(cuts))[::2]]
    begun = {position for chunk in chunks for position in range(chunk.first, chunk.first + chunk.count)}
    found: dict[int, Chunk] = {}
    for chunk in remaining(count, done, chunks):
        for position in range(chunk.first, chunk.first + chunk.count):
            assert position not in found
            found[position] = chunk
    assert set(found) == set(range(count)) - done
    for position, chunk in found.items():
        assert (chunk.row > 0) == (position in begun)
        if chunk.x is not None:
            assert chunk.x[position - chunk.first].unique().item() == position
