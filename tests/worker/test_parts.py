"""What is left of a job: everything that is not done, once."""

from __future__ import annotations

from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from worker.parts import Part, left


def kept(first: int, count: int, row: int = 3) -> Part:
    x = torch.arange(first, first + count).float()[:, None, None, None].expand(-1, 1, 2, 2)
    return Part(first, count, row, x, -x)


def test_a_part_comes_back_as_it_was() -> None:
    part = kept(5, 3)
    again = Part.decode(part.encode())
    assert (again.first, again.count, again.row) == (5, 3, 3)
    assert again.x is not None
    assert again.x0 is not None
    assert torch.equal(again.x, part.x)
    assert torch.equal(again.x0, part.x0)


def test_a_new_job_is_one_part() -> None:
    assert left(7, [], []) == [Part(0, 7)]


def test_nothing_is_left_of_a_job_that_is_done() -> None:
    assert left(3, [0, 1, 2], [kept(0, 3)]) == []


@given(st.data())
def test_every_image_is_done_or_left_once_and_begun_where_it_was_kept(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 20))
    done = data.draw(st.sets(st.integers(0, count - 1)))
    cuts = sorted(data.draw(st.sets(st.integers(0, count), max_size=6)))
    parts = [kept(start, stop - start) for start, stop in list(pairwise(cuts))[::2]]
    begun = {position for part in parts for position in range(part.first, part.first + part.count)}
    found: dict[int, Part] = {}
    for part in left(count, done, parts):
        for position in range(part.first, part.first + part.count):
            assert position not in found
            found[position] = part
    assert set(found) == set(range(count)) - done
    for position, part in found.items():
        assert (part.row > 0) == (position in begun)
        if part.x is not None:
            assert part.x[position - part.first].unique().item() == position
