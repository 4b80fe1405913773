"""Atomic replacement of files and folders: a reader sees the old or the new content, never a part."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from pathlib import Path

AT_FDCWD, RENAME_EXCHANGE = -100, 2  # constants of Linux' fcntl.h and fs.h


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file. The data are synced to disk before they become visible."""
    new = path.with_name(f".{path.name}.new-{os.getpid()}")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def write_json(path: Path, value: object) -> None:
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def replace_folder(new: Path, path: Path) -> None:
    """Moves the folder `new` to `path`, and deletes the folder that was there."""
    if not path.exists():
        new.rename(path)
        return
    if not _exchange(new, path):
        # A rename cannot replace a non-empty folder, so the old one is moved first; for a moment neither exists.
        old = path.with_name(f".{path.name}.old-{os.getpid()}")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        new.rename(path)
        new = old
    shutil.rmtree(new, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Exchanges two paths atomically with Linux' renameat2(2). Returns False if the system does not support it."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0)
