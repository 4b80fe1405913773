"""How long until: from the work that is left, the pace that was measured, and how jobs share a worker's time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from jobs.pace import RESERVE, Pace, weight
from jobs.records import Ahead, Record


@dataclass(frozen=True, slots=True)
class _Load:
    """A job's share in the batch of its model."""

    model: str
    pace: Pace
    rows: float  # network evaluations a step
    row_steps: float  # left
    weight: float

    @classmethod
    def of(cls, record: Record, pace: Pace) -> _Load:
        spec = record.spec
        images = max(1, min(spec.count - record.images_done, pace.slots))
        evaluations = spec.row_steps / (spec.count * spec.steps)  # 2 where all are guided
        share = weight(spec.priority, images, pace.slots)
        return cls(spec.model, pace, images * evaluations, record.row_steps_left, share)

    def seconds(self, beside: Iterable[_Load]) -> float:
        """Of the model's time that it needs, if those beside it stay.

        Each moves when it has been given less time than the others, so that one of k times its rows over weight moves
        with every k-th of its steps, and pays for its part of that.
        """
        ours = self.rows / self.weight
        periods = sorted((max(1.0, each.rows / each.weight / ours), each.rows) for each in beside)
        rows, a_row_step = 0.0, 0.0
        for (period, more), (longer, _) in pairwise([*periods, (float("inf"), 0.0)]):
            rows += more
            a_row_step += (1 / period - 1 / longer) * self.pace.of(round(rows)) / rows
        return self.row_steps * a_row_step


class Forecast:
    """Seconds until jobs are done, from what runs now."""

    def __init__(self, running: Sequence[Record], paces: Mapping[str, Pace], workers: int) -> None:
        self._running, self._paces, self._workers = running, paces, max(1, workers)

    def seconds(self, record: Record, ahead: Ahead | None) -> float | None:
        """Until this job is done; None where a model's pace is not known yet.

        ahead  what waits before it; None for one that runs
        """
        models = {
            record.spec.model,
            *(other.spec.model for other in self._running),
            *(ahead.row_steps if ahead else ()),
        }
        if not models <= self._paces.keys():
            return None
        if ahead is None or (ahead.jobs == 0 and self._has_room(record.spec.model)):
            return round(self._shared(record), 1)
        own = self._load(record)
        backlog = self.backlog(ahead)
        assert backlog is not None
        return round(backlog + own.seconds([own]), 1)

    def backlog(self, ahead: Ahead) -> float | None:
        """Seconds of work that runs or waits, in full batches; None where a model's pace is not known yet."""
        left = dict(ahead.row_steps)
        for record in self._running:
            left[record.spec.model] = left.get(record.spec.model, 0.0) + record.row_steps_left
        if not left.keys() <= self._paces.keys():
            return None
        paces = ((self._paces[model], row_steps) for model, row_steps in left.items())
        return sum(row_steps * pace.of(pace.batch) / pace.batch for pace, row_steps in paces) / self._workers

    def _shared(self, record: Record) -> float:
        """Beside those that run, each of which is given time by its weight until it is done."""
        loads = [self._load(record), *(self._load(other) for other in self._running if other.id != record.id)]
        by_model: dict[str, list[_Load]] = {}
        for load in loads:
            by_model.setdefault(load.model, []).append(load)
        mine = by_model.pop(record.spec.model)
        own = mine[0].seconds(mine)
        until = own / mine[0].weight
        total = sum(each.weight * min(each.seconds(mine) / each.weight, until) for each in mine)
        for others in by_model.values():  # models share a worker's time evenly
            total += min(total, sum(each.seconds(others) for each in others))
        return own + (total - own) / self._workers

    def _has_room(self, model: str) -> bool:
        inside = sum(self._load(other).rows for other in self._running if other.spec.model == model)
        return inside < (1 + RESERVE) * self._paces[model].slots * self._workers

    def _load(self, record: Record) -> _Load:
        return _Load.of(record, self._paces[record.spec.model])
