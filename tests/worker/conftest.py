"""What the worker's tests share: a tiny real network, run eagerly, since compiling it takes longer than all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
import torch

import worker.network
from jobs.pace import Pace
from worker import pacing
from worker.catalog import Model, load_model


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> None:
    """Errors as Python prints them: structlog would print every local tensor, which takes seconds."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


@pytest.fixture(scope="session", autouse=True)
def eager() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.network, "can_compile", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def same_pace() -> Iterator[None]:
    """The best batch is the largest allowed, however fast this machine is just now."""

    def measured(_: object, smallest: int, most: int) -> Pace:
        rows = sorted({smallest, most})
        return Pace(rows=rows, seconds=[0.004 + 0.001 * each for each in rows], slots=most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "measured", measured)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(path: Path, *, bf16: bool, slots: int = 80) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.network, "has_bf16", lambda device: bf16)
        return load_model(path, torch.device("cpu"), slots=slots, max_count=1000)


@pytest.fixture(scope="session", params=["bfloat16", "float32"])
def model(request: pytest.FixtureRequest, eager: None, tiny: Path) -> Model:
    """The tiny network in each precision that a worker may choose."""
    return load(tiny, bf16=request.param == "bfloat16")


@pytest.fixture(scope="session")
def exact(eager: None, tiny: Path) -> Model:
    """The tiny network in float32, where nothing depends on the precision."""
    return load(tiny, bf16=False)
