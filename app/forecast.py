"""How long until: from the work that is left, the pace that was measured, and how jobs share a worker's time."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from redis import Redis

from jobs import models
from jobs.pace import MAX_RIDER_SLOWDOWN, Pace, weight
from jobs.records import Records
from jobs.work import Ahead, Work


@dataclass(frozen=True, slots=True)
class _Load:
    """A job's share in the batch of its model."""

    images: int  # under way
    rows: float  # network evaluations a step
    weight: float

    @property
    def period(self) -> float:
        """It moves with every n-th step, beside one whose period is a n-th of this."""
        return self.rows / self.weight


class _Sharing:
    """The jobs of one model: each moves when it has been given less of the model's time for its weight than the others,
    and along with others where that costs nothing."""

    def __init__(self, works: Iterable[Work], pace: Pace) -> None:
        self._loads = {work.job_id: (work, _load(work, pace, slots)) for work, slots in _divided(works, pace)}
        kinds = Counter(load for _, load in self._loads.values())
        rates = _rates(kinds, pace)
        rates = {kind: rate + _rides(kind, kinds, rates, pace) for kind, rate in rates.items()}
        # When each is done, in the time that is given to a job of weight 1.
        self._ends = {
            job_id: work.row_steps_left / load.rows / rates[load] for job_id, (work, load) in self._loads.items()
        }

    def seconds(self, job_id: str) -> float:
        """Of the model's time, that this job needs."""
        return self._ends[job_id] * self._loads[job_id][1].weight

    def all_seconds(self) -> float:
        return sum(map(self.seconds, self._ends))

    def until(self, job_id: str) -> float:
        """Seconds of the model's time that all of them are given until this one is done."""
        end = self._ends[job_id]
        return sum(load.weight * min(self._ends[other], end) for other, (_, load) in self._loads.items())


def _divided(works: Iterable[Work], pace: Pace) -> Iterator[tuple[Work, int]]:
    """How many images of each may be under way: the oldest has the slots, and the others enter beside it."""
    free = pace.slots
    for work in works:
        most = max(free, pace.admission_limit)
        yield work, most
        free -= _images(work, most)


def _load(work: Work, pace: Pace, most: int) -> _Load:
    images, share = _images(work, most), weight(work.priority, _images(work, pace.slots), pace.slots)
    return _Load(images, images * work.evaluations, share)


def _rates(kinds: Counter[_Load], pace: Pace) -> dict[_Load, float]:
    """Steps of each a second, in the time that is given to a job of weight 1."""
    ordered = sorted(kinds, key=lambda kind: kind.period)
    often = [1 / kind.period for kind in ordered] + [0.0]
    seconds, found = 0.0, dict[_Load, float]()
    # With those that move rarest all others move too; between two of their steps are those of all but them.
    for i, rows in reversed(list(enumerate(accumulate(kind.rows * kinds[kind] for kind in ordered)))):
        kind = ordered[i]
        seconds += (often[i] - often[i + 1]) * pace.of(round(rows)) / rows
        found[kind] = 1 / (seconds * kind.period**2)  # its weight, over what its rows cost
    return found


def _rides(kind: _Load, kinds: Counter[_Load], rates: dict[_Load, float], pace: Pace) -> float:
    """Steps a second, in the same time, in which it rides along with others."""
    return sum(
        rates[other] * number * min(1.0, other.images / pace.slots)
        for other, number in kinds.items()
        if other.period > kind.period
        and pace.of(round(other.rows + kind.rows)) <= (1 + MAX_RIDER_SLOWDOWN) * pace.of(round(other.rows))
    )


class Forecast:
    """Seconds until jobs are done, from what runs now."""

    def __init__(self, running: Sequence[Work], paces: Mapping[str, Pace], workers: int) -> None:
        self.running = len(running)
        self._paces, self._workers = paces, max(1, workers)
        self._works: defaultdict[str, dict[str, Work]] = defaultdict(dict)  # by model
        for work in running:
            self._works[work.model][work.job_id] = work
        self._sharing = cache(lambda model: _Sharing(self._works[model].values(), paces[model]))

    @classmethod
    def now(cls, redis: Redis, records: Records) -> Forecast:
        return cls(records.running(), models.paces(redis), models.live_workers(redis))

    def seconds(self, work: Work, ahead: Ahead | None) -> float | None:
        """Until this job is done; None where a model's pace is not known yet.

        ahead  what waits before it; None for one that runs
        """
        if not {work.model, *self._works, *(ahead.row_steps if ahead else ())} <= self._paces.keys():
            return None
        if ahead is None or (ahead.jobs == 0 and self._has_room(work)):
            return round(self._shared(work), 1)
        backlog = self.backlog(ahead)
        assert backlog is not None
        return round(backlog + _Sharing([work], self._paces[work.model]).seconds(work.job_id), 1)

    def backlog(self, ahead: Ahead) -> float | None:
        """Seconds of work that runs or waits, in full batches; None where a model's pace is not known yet."""
        left = defaultdict(float, ahead.row_steps)
        for model, works in self._works.items():
            left[model] += sum(work.row_steps_left for work in works.values())
        if not left.keys() <= self._paces.keys():
            return None
        paces = ((self._paces[model], row_steps) for model, row_steps in left.items())
        return sum(row_steps * pace.of(pace.batch) / pace.batch for pace, row_steps in paces) / self._workers

    def _shared(self, work: Work) -> float:
        """Beside those that run, each of which is given time by its weight until it is done."""
        if work.job_id in self._works[work.model]:
            mine = self._sharing(work.model)
        else:
            mine = _Sharing([*self._works[work.model].values(), work], self._paces[work.model])
        own, total = mine.seconds(work.job_id), mine.until(work.job_id)
        for model in self._works.keys() - {work.model}:  # models share a worker's time evenly
            total += min(total, self._sharing(model).all_seconds())
        return own + (total - own) / self._workers

    def _has_room(self, work: Work) -> bool:
        """Whether it would enter at once, as the engine decides on that."""
        pace, others = self._paces[work.model], self._works[work.model].values()
        free = pace.slots * self._workers - sum(_images(other, pace.slots) for other in others)
        if free > 0:
            return True
        if work.priority == "batch" and any(other.priority == "batch" for other in others):
            return False
        inside = sum(_images(other, pace.admission_limit) for other in others)
        return inside < (pace.slots + pace.reserve) * self._workers


def _images(work: Work, most: int) -> int:
    """Those that may be under way at once, of those that are left."""
    return max(1, min(work.images - work.images_done, most))
