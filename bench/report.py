"""How measurements are told."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch


def machine(device: torch.device) -> str:
    """What was measured on, with what, and when."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        name = f"{os.cpu_count()} cores of {model or platform.machine()}"
    return f"{name}, torch {torch.__version__}, {datetime.now(UTC):%Y-%m-%d}"


def spread(values: Sequence[float]) -> str:
    """The median, and the least and the most."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def write_section(page: Path, name: str, text: str) -> None:
    """Replaces what stands between the comments `name` and `/name` in a Markdown page, which has them."""
    before, opening, rest = page.read_text().partition(f"<!-- {name} -->\n")
    _, closing, after = rest.partition(f"<!-- /{name} -->")
    if not (opening and closing):
        raise ValueError(f"{page} has no section {name}")
    page.write_text(f"{before}{opening}\n{text}\n\n{closing}{after}")
