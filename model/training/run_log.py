"""The log of a training run: one line of JSON per step, and the same for TensorBoard."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from model.checkpoint import write_atomically

METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Report:
    """The figures of one optimiser step."""

    step: int
    loss: float
    learning_rate: float
    images_per_second: float


class RunLog:
    """Appends to the log in the folder `run`. Removes entries after `step`, at which the run resumes."""

    def __init__(self, run: Path, step: int) -> None:
        run.mkdir(parents=True, exist_ok=True)
        path = run / METRICS
        lines = path.read_text().splitlines(keepends=True)[:step] if step else []
        write_atomically(path, "".join(lines).encode())
        self._metrics = path.open("a")
        self._board = SummaryWriter(str(run), purge_step=step + 1)

    def write(self, report: Report) -> None:
        values = dataclasses.asdict(report)
        self._metrics.write(json.dumps(values) + "\n")
        step = values.pop("step")
        for name, value in values.items():
            self._board.add_scalar(name, value, step)

    def flush(self) -> None:
        self._metrics.flush()
        self._board.flush()

    def close(self) -> None:
        self._metrics.close()
        self._board.close()


def losses(run: Path) -> list[float]:
    """The loss of every logged step."""
    return [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]
