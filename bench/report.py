"""How measurements are taken and told."""

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

Taken = TypeVar("Taken")


def interleaved(sides: dict[str, Callable[[int], Taken]], rounds: int) -> dict[str, list[Taken]]:
    """What each side takes, told the round's number, with the sides in turn; a first round is not counted."""
    taken: dict[str, list[Taken]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, run in sides.items():
            measured = run(turn)
            if turn:
                taken[name].append(measured)
    return taken


def timed(run: Callable[[], object]) -> float:
    """Seconds that it takes."""
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def machine(device: torch.device) -> str:
    """What was measured on, with what, and when."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        cpuinfo = Path("/proc/cpuinfo")
        lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        name = f"{os.cpu_count()} cores of {model or platform.machine()}"
    return f"{name}, torch {torch.__version__}, diffusers {version('diffusers')}, {datetime.now(UTC):%Y-%m-%d}"


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the least and the most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def times(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """How many times as much ours is, round by round."""
    return f"**{spread([a / b for a, b in zip(ours, theirs, strict=True)], 2)}**"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def write_section(page: Path, name: str, text: str) -> None:
    """Prints what was measured, and puts it between the comments `name` and `/name` of a Markdown page."""
    print(f"\n{text}\n", flush=True)
    opening, closing = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    whole = page.read_text()
    if opening not in whole:
        whole += f"\n## {name}\n\n{opening}{closing}"
    before, _, rest = whole.partition(opening)
    page.write_text(f"{before}{opening}\n{text}\n\n{closing}{rest.partition(closing)[2]}")


def write_performance(name: str, device: torch.device, text: str) -> None:
    """Into docs/performance.md; what a GPU does stands beside what a CPU does."""
    write_section(PERFORMANCE, name if device.type == "cpu" else f"{name} ({device.type})", text)
