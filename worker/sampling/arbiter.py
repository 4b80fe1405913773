"""Arbitration between models: decides which one steps next, and which networks are compiled in subprocesses."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess

from jobs.pace import Pace
from jobs.schema import Priority
from model.cores import Cores
from worker.catalog import Catalog, Model
from worker.sampling.engine import Engine, Step
from worker.sampling.pacing import Drift

POLL_SECONDS = 0.1  # poll interval for external changes: cancellation, compilation, suspension, waiting jobs


class StepError(Exception):
    """A step of an engine failed; __cause__ is the error."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine


@dataclass(slots=True, eq=False)
class _Share:
    """A model's engine, and the time charged to it."""

    model: str
    engine: Engine
    seconds: float  # time charged for its steps; starts at the minimum of all models
    last_step: float | None = None  # duration of its last step in seconds


class Arbiter:
    """Divides the machine's time equally among the models that have rows."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._cores = Cores()
        self._shares: dict[str, _Share] = {}  # by digest: a model that is replaced on disk finishes its jobs
        self._current: _Share | None = None  # the model that stepped last
        self._compiling: dict[str, SpawnProcess] = {}  # by digest
        self._drift: dict[str, Drift] = {}  # by model
        self._clock: float | None = None  # end of the last step; None after a pause
        self.is_preparing = False  # the main thread compiles or measures a network, for up to minutes

    @property
    def idle(self) -> bool:
        return all(share.engine.idle for share in self._shares.values())

    def has_room(self, priority: Priority) -> bool:
        """Whether a new job of any model would start at the next step."""
        return all(share.engine.has_room(priority) for share in self._shares.values())

    def engine(self, model: Model) -> Engine:
        digest = model.card.digest
        if digest not in self._shares:
            seconds = min((share.seconds for share in self._shares.values()), default=0.0)
            self._shares[digest] = _Share(model.card.name, Engine(model.network, model.shape), seconds)
        return self._shares[digest].engine

    # Steps

    def step(self) -> list[Step]:
        """One step of the model with the least time charged. Raises StepError."""
        self._shares = {digest: share for digest, share in self._shares.items() if not share.engine.idle}
        share = self._current = min(self._shares.values(), key=lambda share: share.seconds)
        if self._clock is None:
            self._clock = time.perf_counter()
        try:
            return share.engine.step(share.last_step)
        except Exception as error:
            raise StepError(share.engine) from error

    def charge(self, steps: list[Step]) -> None:
        """Charges the model that has stepped with the time since the previous step, publishing included."""
        assert self._clock is not None
        assert self._current is not None
        share = self._current
        if share.engine.network.device.type == "cpu":
            self._cores.adapt()
        now = time.perf_counter()
        seconds, self._clock = now - self._clock, now
        share.seconds += seconds
        if share.engine.network.device.type != "cuda":  # on CUDA, steps are asynchronous: this is not its duration
            share.last_step = seconds
        if steps:
            self._compare(share, seconds, sum(step.evaluations for step in steps))

    def pause(self) -> None:
        """Charges the time until the next step to no model."""
        self._clock = None

    def _compare(self, share: _Share, seconds: float, evaluations: int) -> None:
        """Compares a step with the measured pace; measures again if steps are far faster."""
        network = share.engine.network
        drift = self._drift.setdefault(share.model, Drift())
        drift.add(seconds, network.pace.of(evaluations))
        if drift.contradicts_pace:  # the machine was busy with other work during the measurement
            with self._preparing():
                network.measure()
            del self._drift[share.model]
            self.pause()

    def paces(self) -> dict[str, Pace]:
        """Measured or saved paces by model, each with its current drift. Called from other threads."""
        found = {}
        for card in self._catalog.cards:
            model = self._catalog.get(card.name)
            pace = None if model is None else model.network.expected_pace
            if pace is not None:
                found[card.name] = pace.model_copy(update={"drift": self._drift.get(card.name, Drift()).ratio})
        return found

    # Networks

    def prepare(self, model: Model) -> None:
        """Compiles and measures the model's network in this thread, unless it is ready."""
        with self._preparing():
            model.network.warm()

    def compiles_in_subprocess(self, model: Model) -> bool:
        """Whether a subprocess is compiling the network. Starts one for a new network while other models have rows."""
        digest = model.card.digest
        if digest not in self._compiling:
            if self.idle or not model.network.is_new:
                return False
            self._compiling[digest] = self._catalog.compile_in_subprocess(model.card.name)
        return self._compiling[digest].is_alive()

    def prepare_all(self, is_needed_elsewhere: Callable[[], bool]) -> None:
        """Prepares all models, one after another, until `is_needed_elsewhere` returns True.

        If there are several models, each is compiled in a subprocess, so that a job of another model need not wait.
        """
        cards = self._catalog.cards
        for card in cards:
            model = self._catalog.get(card.name)
            if model is None:
                continue
            if len(cards) > 1 and model.network.is_new and not is_needed_elsewhere():
                self._compiling[card.digest] = compiler = self._catalog.compile_in_subprocess(card.name)
                while compiler.is_alive() and not is_needed_elsewhere():
                    compiler.join(POLL_SECONDS)
            if is_needed_elsewhere():
                return
            self.prepare(model)

    def stop(self) -> None:
        """Ends the subprocesses."""
        for process in self._compiling.values():
            process.terminate()

    @contextmanager
    def _preparing(self) -> Iterator[None]:
        self.is_preparing = True
        try:
            yield
        finally:
            self.is_preparing = False
