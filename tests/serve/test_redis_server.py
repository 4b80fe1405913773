"""Which Redis is taken: the first that there is, unless it could not read what lies in the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve import redis_server
from serve.redis_server import NoRedisError, executable


def server(folder: Path, version: str) -> Path:
    folder.mkdir()
    path = folder / "redis-server"
    path.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=0'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def old_and_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """An older server before a newer one on the PATH, as where a virtual environment brings its own."""
    old, new = server(tmp_path / "old", "6.2.14"), server(tmp_path / "new", "7.0.15")
    monkeypatch.setenv("PATH", f"{old.parent}:{new.parent}")
    return old, new


def test_the_first_on_the_path_is_taken(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    assert executable(tmp_path / "state") == str(old_and_new[0])


def test_what_a_newer_server_wrote_is_not_read_by_an_older_one(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "state" / redis_server.IN_PARTS).mkdir(parents=True)
    assert executable(tmp_path / "state") == str(old_and_new[1])
    old_and_new[1].unlink()
    with pytest.raises(NoRedisError, match="written by Redis 7"):
        executable(tmp_path / "state")
