"""What routes are given."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from app.settings import AppSettings
from app.watch import Watch
from jobs.records import Records
from jobs.store import RedisStore


def settings(request: Request) -> AppSettings:
    return request.app.state.settings  # type: ignore[no-any-return]


def redis(request: Request) -> Redis:
    return request.app.state.redis


def async_redis(request: Request) -> AsyncRedis:
    return request.app.state.async_redis


def watch(request: Request) -> Watch:
    return request.app.state.watch  # type: ignore[no-any-return]


def records(request: Request) -> Records:
    return request.app.state.records  # type: ignore[no-any-return]


def store(request: Request) -> RedisStore:
    return request.app.state.store  # type: ignore[no-any-return]


SettingsDep = Annotated[AppSettings, Depends(settings)]
RedisDep = Annotated[Redis, Depends(redis)]
AsyncRedisDep = Annotated[AsyncRedis, Depends(async_redis)]
WatchDep = Annotated[Watch, Depends(watch)]
RecordsDep = Annotated[Records, Depends(records)]
StoreDep = Annotated[RedisStore, Depends(store)]
