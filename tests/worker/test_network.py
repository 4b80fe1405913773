"""The network for sampling: guidance, batch invariance, build and pace."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.worker.conftest import load
from worker.catalog import Model

NULL = 10


def rows(count: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    x = torch.randn(count, 1, 8, 8, generator=generator)
    t = torch.randint(0, 1000, (count,), generator=generator)
    return x, t, torch.randint(0, NULL + 1, (count,), generator=generator)


def test_without_guidance_output_equals_unet(model: Model) -> None:
    x, t, labels = rows(6)
    with torch.no_grad():
        expected = model.checkpoint.unet(x, t, labels).float()
    assert torch.equal(model.network(x, t, labels, torch.ones(6)), expected)


def test_guidance_equals_ho_and_salimans_eq_6(model: Model) -> None:
    """Ho & Salimans 2022, eq. 6, row by row with its own scale."""
    x, t, labels = rows(6)
    scale = torch.tensor([1.0, 2.0, 0.0, 1.0, 7.5, 1.5])
    with torch.no_grad():
        conditional = model.checkpoint.unet(x, t, labels).float()
        free = model.checkpoint.unet(x, t, torch.full_like(labels, NULL)).float()
    w = scale[:, None, None, None]
    expected = torch.where(w == 1, conditional, free + w * (conditional - free))
    assert torch.equal(model.network(x, t, labels, scale), expected)
    assert not torch.equal(expected, conditional)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 16, 33])
def test_row_is_the_same_in_every_batch_size(model: Model, count: int) -> None:
    x, t, labels = rows(40)
    scale = torch.tensor([1.0, 3.0] * 20)
    whole = model.network(x, t, labels, scale)
    assert torch.equal(model.network(x[:count], t[:count], labels[:count], scale[:count]), whole[:count])


@pytest.mark.parametrize("slots", [1, 2, 5, 8])
@pytest.mark.parametrize("bf16", [True, False])
def test_split_batch_equals_whole_batch(tiny: Path, bf16: bool, slots: int) -> None:
    x, t, labels = rows(9)
    scale = torch.tensor([1.0, 3.0, 2.0] * 3)
    cut, whole = (load(tiny, bf16=bf16, slots=most).network for most in (slots, 80))
    assert torch.equal(cut(x, t, labels, scale), whole(x, t, labels, scale))


def test_build_names_versions_device_dtype_and_mode(tiny: Path) -> None:
    exact, fast = load(tiny, bf16=False).network, load(tiny, bf16=True).network
    assert exact.build != fast.build
    for word in (version("noisemill"), torch.__version__, "cpu", "float32", "eager"):
        assert word in exact.build


def test_expected_pace_is_known_before_a_later_start_is_ready(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from the cache folder, with the time that the earlier start took to become ready."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    first = load(tiny, bf16=False, slots=24).network
    assert first.expected_pace is None
    first.warm()
    second, third = (load(tiny, bf16=False, slots=24).network for _ in range(2))
    second.warm()
    assert third.expected_pace is not None
    assert third.expected_pace.ready_seconds > 0
    assert second.pace.ready_seconds == 0
    assert second.pace.seconds == first.pace.seconds
