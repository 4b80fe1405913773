"""Dependencies of the routes."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from redis import Redis

from app.file_cache import FileCache
from app.settings import AppSettings
from app.view import Viewer
from app.watch import Watch
from jobs.records import Records
from jobs.store import RedisStore


def settings(request: Request) -> AppSettings:
    found: AppSettings = request.app.state.settings
    return found


def redis(request: Request) -> Redis:
    return request.app.state.redis


def watch(request: Request) -> Watch:
    found: Watch = request.app.state.watch
    return found


def records(request: Request) -> Records:
    found: Records = request.app.state.records
    return found


def store(request: Request) -> RedisStore:
    found: RedisStore = request.app.state.store
    return found


def files(request: Request) -> FileCache:
    found: FileCache = request.app.state.files
    return found


RedisDep = Annotated[Redis, Depends(redis)]
RecordsDep = Annotated[Records, Depends(records)]
StoreDep = Annotated[RedisStore, Depends(store)]


def viewer(redis: RedisDep, records: RecordsDep, store: StoreDep) -> Viewer:
    return Viewer(redis, records, store)


FilesDep = Annotated[FileCache, Depends(files)]
SettingsDep = Annotated[AppSettings, Depends(settings)]
WatchDep = Annotated[Watch, Depends(watch)]
ViewerDep = Annotated[Viewer, Depends(viewer)]
