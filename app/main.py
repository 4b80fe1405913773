"""The app: its routes, middleware and shared state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles
from fastapi_offline import FastAPIOffline
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app import error_handlers, openapi
from app.api_pages import add_api_pages
from app.body_limit import BodyLimit
from app.errors import problems
from app.file_cache import FileCache
from app.head import Head
from app.hosts import AllowedHosts
from app.routes import events, generate, jobs, models, ops, results
from app.security_headers import SecurityHeaders
from app.settings import AppSettings
from app.watch import Watch
from jobs.records import Records
from jobs.store import RedisStore

WEB = Path(__file__).parent / "web"
REDIS_TIMEOUT_SECONDS = 5.0  # maximum time for a reply, also from a server that vanished without closing connections
CACHED_FILES_BYTES = 64 << 20


def create_app(settings: AppSettings | None = None) -> FastAPI:
    """A new app for each call; uvicorn calls it as a factory."""
    settings = settings or AppSettings()
    app: FastAPI = FastAPIOffline(
        docs_url=None,  # `add_api_pages` adds these two
        redoc_url=None,
        title="Noisemill",
        version=version("noisemill"),
        summary="Small pixel-space diffusion models, served.",
        openapi_tags=openapi.TAGS,
        generate_unique_id_function=openapi.operation_id,
        responses=problems(HTTPStatus.MISDIRECTED_REQUEST, HTTPStatus.INTERNAL_SERVER_ERROR),
        lifespan=_lifespan,
        redirect_slashes=False,  # a redirect would repeat the Host that the client claims
    )
    _set_state(app, settings)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(AllowedHosts, names=app.state.host_names)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Head)  # the last one added is the first to run
    error_handlers.install(app)
    openapi.install(app)
    for resource in (generate, jobs, events, results, models, ops):
        app.include_router(resource.router)
    add_api_pages(app)
    app.mount("/static", StaticFiles(directory=WEB))
    app.add_api_route("/", lambda: FileResponse(WEB / "index.html"), include_in_schema=False)
    return app


def _set_state(app: FastAPI, settings: AppSettings) -> None:
    """Sets the state that `app.deps` gives to routes and `app.server` changes."""
    state = app.state
    state.settings = settings
    state.host_names = set(settings.host_names)
    state.redis = Redis.from_url(settings.redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS)
    state.async_redis = AsyncRedis.from_url(settings.redis_url, socket_timeout=REDIS_TIMEOUT_SECONDS)
    state.records = Records(state.redis)
    state.store = RedisStore(state.redis)
    state.watch = Watch(state.async_redis)
    state.files = FileCache(CACHED_FILES_BYTES)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    listening = asyncio.create_task(app.state.watch.run())
    yield
    listening.cancel()
    with suppress(asyncio.CancelledError):
        await listening
    await app.state.async_redis.aclose()
    app.state.redis.close()
