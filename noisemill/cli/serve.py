"""serve, app and worker: the whole service, or one process of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from noisemill.cli.console import stop
from noisemill.cli.options import CHECKPOINTS, ModelsDir, Port

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

Settings = TypeVar("Settings", bound="BaseSettings")

RedisUrl = Annotated[str | None, typer.Option(help="redis://… or unix://…; default: NOISEMILL_REDIS_URL.")]
ServeRedisUrl = Annotated[
    str | None, typer.Option("--redis-url", help="redis://… or unix://…; default: start a Redis server.")
]


def serve(
    host: str = "127.0.0.1",
    port: Port = 8000,
    models: ModelsDir = CHECKPOINTS,
    state: Annotated[Path, typer.Option(help="Folder that keeps jobs and results.")] = Path("var"),
    redis_url: ServeRedisUrl = None,
) -> None:
    """Run everything on this machine: Redis (unless --redis-url is given), a worker and the app."""
    from app.settings import AppSettings
    from serve.main import ServeError, serve
    from serve.redis_server import NoRedisError
    from worker.settings import WorkerSettings

    for kind in (AppSettings, WorkerSettings):  # an invalid setting would make the child processes fail repeatedly
        read_settings(kind)
    try:
        serve(host=host, port=port, models=models, state=state, redis_url=redis_url)
    except (ServeError, NoRedisError) as error:
        stop(str(error))


def app(host: str = "127.0.0.1", port: Port = 8000, redis_url: RedisUrl = None) -> None:
    """Run the HTTP app alone; several may run, on any host."""
    import uvicorn

    from app.main import create_app
    from app.server import Server
    from app.settings import AppSettings

    settings = read_settings(AppSettings, redis_url=redis_url)
    config = uvicorn.Config(
        create_app(settings), host=host, port=port, log_level="warning", timeout_graceful_shutdown=5
    )
    Server(config).run()


def worker(redis_url: RedisUrl = None, models: Annotated[Path | None, typer.Option()] = None) -> None:
    """Run a worker alone; several may run, on any host with the same models."""
    from worker.main import run
    from worker.settings import WorkerSettings

    run(read_settings(WorkerSettings, redis_url=redis_url, models=models))


def read_settings(kind: type[Settings], **options: Any) -> Settings:
    """Settings from the command line's options, else from the environment; stops if one is invalid."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        stop(f"NOISEMILL_{str(first['loc'][0]).upper()}={first['input']!r}: {first['msg'].lower()}")
