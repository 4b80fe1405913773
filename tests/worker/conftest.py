"""Fixtures: a tiny real network, run eagerly, since compiling it takes longer than all tests."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
import torch
from redis import Redis

import worker.sampling.network
from jobs.pace import Pace
from model import checkpoint
from tests.worker.harness import WorkerHarness
from worker.catalog import Model, load_model
from worker.sampling import pacing
from worker.sampling.engine import Engine, Step

MAX_STEPS = 10_000  # more than any test takes


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> None:
    """Plain tracebacks: structlog's default prints every local tensor, which takes seconds."""
    structlog.configure(processors=[structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)])


@pytest.fixture(scope="session", autouse=True)
def eager() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.sampling.network, "can_compile", lambda: False)
        yield


@pytest.fixture(scope="session", autouse=True)
def same_pace() -> Iterator[None]:
    """A fixed pace instead of measurements on this machine: the best batch is the largest allowed."""

    def measured(_: object, smallest: int, largest: int) -> Pace:
        rows = sorted({smallest, largest})
        return Pace(rows=rows, seconds=[0.004 + 0.001 * each for each in rows], slots=largest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, "measured", measured)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A second thread makes networks this small slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(path: Path, *, bf16: bool, slots: int = 80) -> Model:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.sampling.network, "has_bf16", lambda device: bf16)
        return load_model(path, torch.device("cpu"), slots=slots, max_count=1000)


def change_weights(path: Path) -> None:
    """Saves other weights of the same shape, as training does."""
    loaded = checkpoint.load(path)
    with torch.no_grad():
        loaded.unet.conv_in.weight.mul_(1.5)
    checkpoint.save(path, loaded.unet, loaded.schedule, loaded.card)


@pytest.fixture(scope="session", params=["bfloat16", "float32"])
def model(request: pytest.FixtureRequest, eager: None, tiny: Path) -> Model:
    """The tiny network in each precision."""
    return load(tiny, bf16=request.param == "bfloat16")


@pytest.fixture(scope="session")
def exact(eager: None, tiny: Path) -> Model:
    """The tiny network in float32."""
    return load(tiny, bf16=False)


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Restores the signal handlers, which RQ's worker does not."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def harness(redis: Redis, redis_url: str, tiny: Path) -> WorkerHarness:
    return WorkerHarness(redis, redis_url, tiny.parent)


@pytest.fixture
def at_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Calls a function before each step of any engine, with the step's number; returns the list of numbers."""

    def install(do: Callable[[int], None]) -> list[int]:
        numbers: list[int] = []
        step = Engine.step

        def observed(engine: Engine, last_seconds: float | None = None) -> list[Step]:
            numbers.append(len(numbers))
            assert numbers[-1] < MAX_STEPS
            do(numbers[-1])
            return step(engine, last_seconds)

        monkeypatch.setattr(Engine, "step", observed)
        return numbers

    return install


@pytest.fixture
def two_models(redis: Redis, redis_url: str, tiny: Path, tmp_path: Path) -> WorkerHarness:
    for name in "ab":
        shutil.copytree(tiny, tmp_path / name)
    change_weights(tmp_path / "b")
    return WorkerHarness(redis, redis_url, tmp_path)
