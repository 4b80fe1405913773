"""The app: routes, and what they share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app import errors
from app.guard import Guard
from app.head import Head
from app.routes import events, generate, jobs, models, ops, results
from app.settings import AppSettings
from app.watch import Watch
from jobs.records import Records
from jobs.store import RedisStore

WEB = Path(__file__).parent / "web"
REDIS_TIMEOUT_SECONDS = 5.0


def create_app(settings: AppSettings | None = None) -> FastAPI:
    """An app of its own for each caller; uvicorn calls it as a factory."""
    settings = settings or AppSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        watching = asyncio.create_task(app.state.watch.run())
        yield
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await app.state.async_redis.aclose()
        app.state.redis.close()

    app = FastAPIOffline(
        favicon_url="/static/icon.svg",
        title="Noisemill",
        version=version("noisemill"),
        summary="Small pixel-space diffusion models, served.",
        lifespan=lifespan,
        redirect_slashes=False,  # a redirect would name whatever host the client claims
    )
    app.state.settings = settings
    app.state.redis = Redis.from_url(settings.redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS)
    app.state.async_redis = AsyncRedis.from_url(settings.redis_url, socket_timeout=None)
    app.state.records = Records(app.state.redis)
    app.state.store = RedisStore(app.state.redis)
    app.state.watch = Watch(app.state.async_redis)
    app.add_middleware(Head)
    app.add_middleware(Guard, max_body_bytes=settings.max_body_bytes)
    errors.install(app)
    for room in (generate, jobs, events, results, models, ops):
        app.include_router(room.router)
    app.mount("/static", StaticFiles(directory=WEB))
    app.add_api_route("/", lambda: FileResponse(WEB / "index.html"), include_in_schema=False)
    return app
