"""Duration of a batch between and beyond the measured sizes, and weights of jobs."""

from __future__ import annotations

import pytest

from jobs.pace import BULK_BONUS, Pace, weight


def test_of_interpolates_between_measured_sizes_and_splits_into_batches() -> None:
    pace = Pace(rows=[2, 4, 8], seconds=[0.1, 0.2, 0.6], slots=8)
    assert pace.of(1) == pace.of(2) == 0.1
    assert pace.of(3) == pytest.approx(0.15)
    assert pace.of(6) == pytest.approx(0.4)
    assert pace.of(8) == 0.6
    assert pace.of(19) == pytest.approx(0.6 + 0.6 + 0.15), "two full batches and a part"
    assert pace.model_copy(update={"drift": 2.0}).of(19) == pytest.approx(2 * 1.35)


def test_weight_grows_with_images_and_is_a_quarter_for_batch_jobs() -> None:
    assert weight("interactive", 0, 64) == 1
    assert weight("interactive", 64, 64) == weight("interactive", 80, 64) == 1 + BULK_BONUS
    assert weight("batch", 64, 64) == weight("interactive", 64, 64) / 4
