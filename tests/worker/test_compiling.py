"""Networks are compiled in subprocesses while jobs of other models run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import Pipe, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
import torch

from jobs.schema import Status
from tests.worker.harness import WorkerHarness
from worker.catalog import Catalog
from worker.sampling.network import Network

CHECKPOINTS = Path(__file__).parent.parent.parent / "checkpoints"


class Compiler:
    """A subprocess that ends on request, in place of those that compile."""

    def __init__(self) -> None:
        self._receive, self._send = Pipe(duplex=False)
        self.processes: list[SpawnProcess] = []

    def __call__(self, name: str) -> SpawnProcess:
        self.processes.append(get_context("spawn").Process(target=self._receive.recv))
        self.processes[-1].start()
        return self.processes[-1]

    def finish(self) -> None:
        for process in self.processes:
            self._send.send("done")
            process.join()


@pytest.fixture
def compiler(two_models: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compiler]:
    compiler = Compiler()
    monkeypatch.setattr(Network, "is_new", True)
    monkeypatch.setattr(two_models.catalog, "compile_in_subprocess", compiler)
    yield compiler
    compiler.finish()


def test_jobs_run_while_the_network_of_another_model_is_compiled(
    two_models: WorkerHarness, compiler: Compiler, at_step: Callable[..., list[int]]
) -> None:
    first = two_models.submit(model="a", steps=20)
    others = [two_models.submit(model="b", seed=seed) for seed in (1, 2)]
    canceled = two_models.submit(model="b", steps=50)

    def act(number: int) -> None:
        if number == 10:
            assert [two_models.record(job).status for job in others] == [Status.QUEUED] * 2
            two_models.records.cancel(canceled)
            compiler.finish()

    at_step(act)
    two_models.work()
    assert len(compiler.processes) == 1
    two_models.assert_finished(first, *others)
    assert two_models.last_event_id(others[0], "started") > two_models.last_event_id(first, "started")
    assert two_models.record(canceled).status is Status.CANCELED


def test_job_does_not_wait_for_other_models_to_be_prepared(
    two_models: WorkerHarness, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = []

    def submit_meanwhile(name: str) -> SpawnProcess:
        jobs.append(two_models.submit(model="b"))
        return compiler(name)

    monkeypatch.setattr(two_models.catalog, "compile_in_subprocess", submit_meanwhile)
    worker = two_models.worker()
    worker.prepare_all()
    two_models.work(worker)
    two_models.assert_finished(*jobs)
    [process] = compiler.processes
    assert process.is_alive()


def test_single_model_is_prepared_without_a_subprocess(harness: WorkerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "is_new", True)
    monkeypatch.setattr(harness.catalog, "compile_in_subprocess", pytest.fail)
    worker = harness.worker()
    worker.prepare_all()
    worker.connection.close()
    model = harness.catalog.get("tiny")
    assert model is not None
    assert model.network.is_warm


def test_sigterm_puts_back_jobs_that_wait_for_their_network(
    two_models: WorkerHarness, compiler: Compiler, at_step: Callable[..., list[int]]
) -> None:
    jobs = [two_models.submit(model=model, steps=12) for model in "ab"]
    at_step(lambda number: os.kill(os.getpid(), signal.SIGTERM) if number == 5 else None)
    two_models.work()
    assert two_models.queue.job_ids == jobs
    [process] = compiler.processes
    process.join()
    assert process.exitcode == -signal.SIGTERM


def test_subprocess_leaves_its_code_in_the_cache() -> None:
    catalog = Catalog(CHECKPOINTS, device=torch.device("cpu"), slots=8, max_count=50)

    def compiled() -> set[Path]:
        process = catalog.compile_in_subprocess("digits")
        process.join()
        assert process.exitcode == 0
        return set(Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).rglob("*.so"))

    found = compiled()
    assert found
    assert compiled() == found


COMPILES = f"""
import torch
from pathlib import Path
from worker.catalog import Catalog
if __name__ == "__main__":
    catalog = Catalog(Path({str(CHECKPOINTS)!r}), device=torch.device("cpu"), slots=8, max_count=50)
    catalog.compile_in_subprocess("digits").join()
"""


def test_subprocess_ends_with_a_killed_worker(tmp_path: Path) -> None:
    script, cache = tmp_path / "parent.py", tmp_path / "cache"
    script.write_text(COMPILES)
    environment = os.environ | {
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
        "PYTHONPATH": str(CHECKPOINTS.parent),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        assert b"compiling" in worker.stdout.readline()
        worker.kill()
        worker.stdout.read()  # returns once the subprocess has closed its copy too
    assert not list(cache.rglob("*.so"))
