"""Takes measurements and writes them into Markdown pages."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch

PERFORMANCE = Path("docs/performance.md")

Measured = TypeVar("Measured")


def interleaved(sides: dict[str, Callable[[int], Measured]], rounds: int) -> dict[str, list[Measured]]:
    """Measures all sides once per round and passes them its number; round 0 is a warm-up and not counted."""
    results: dict[str, list[Measured]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            measured = run(turn)
            if turn:
                results[name].append(measured)
    return results


def timed(run: Callable[[], object]) -> float:
    """The duration of a call in seconds."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def machine(device: torch.device) -> str:
    """The hardware, library versions and date of a measurement."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        name = f"{os.cpu_count()} cores of {model or platform.machine()}"
    return f"{name}, torch {torch.__version__}, diffusers {version('diffusers')}, {datetime.now(UTC):%Y-%m-%d}"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Median, minimum and maximum; or a single value."""
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (one round)"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def times(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of ours to theirs, round by round."""
    return f"**{spread([a / b for a, b in zip(ours, theirs, strict=True)], 2)}**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def write_section(page: Path, name: str, text: str) -> None:
    """Prints the text, and writes it between the comments `name` and `/name` of a Markdown page."""
    print(f"\n{text}\n", flush=True)
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    whole = page.read_text()
    if opening not in whole:
        whole += f"\n## {name}\n\n{opening}{closing}"
    before, _, rest = whole.partition(opening)
    page.write_text(f"{before}{opening}\n{text}\n\n{closing}{rest.partition(closing)[2]}")


def write_performance(name: str, device: torch.device, text: str) -> None:
    """Writes a section of docs/performance.md; measurements on a GPU have separate sections."""
    write_section(PERFORMANCE, name if device.type == "cpu" else f"{name} ({device.type})", text)
