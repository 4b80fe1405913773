"""How long until: from the work that is left and the speed that was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jobs.records import Record


def seconds_left(records: Iterable[Record], speeds: Mapping[str, float]) -> float | None:
    """Seconds until all of these are done; None where a model's speed is not known yet."""
    total = 0.0
    for record in records:
        speed = speeds.get(record.spec.model)
        if not speed:
            return None
        total += record.row_steps_left / speed
    return round(total, 1)
