"""Noisemill: train, serve and sample small diffusion models."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import structlog
import typer

from noisemill.cli import evaluate, figures, models, sample, serve, train

cli = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
for command in (serve.serve, serve.app, serve.worker):
    cli.command()(command)
cli.command()(train.train)
cli.command()(sample.sample)
cli.command()(evaluate.evaluate)
cli.command()(figures.figures)
cli.command(name="import")(models.import_)
cli.command()(models.models)


def main() -> None:
    # Compiled networks and measured step times are kept on disk, so that later starts take seconds.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path("var/compiled").resolve()))
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,  # the default formatter prints every tensor
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
    cli()
