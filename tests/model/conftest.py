"""What the tests of the model share: few threads, and the real data sets where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

REAL_DATA = Path(__file__).resolve().parents[3] / "shared" / "datasets"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Networks this small only lose time to a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets beside the repository."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"{REAL_DATA} does not exist")
    return REAL_DATA
