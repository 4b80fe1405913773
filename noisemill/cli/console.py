"""Output to the terminal: messages, progress, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console()


def stop(message: str) -> NoReturn:
    """Prints the message on stderr and exits with status 1."""
    Console(stderr=True).print(f"noisemill: {message}", style="red", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar; yields the function that advances it by a number of steps."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps")
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task(description, total=total)
        yield lambda steps: progress.advance(bar, steps)
