"""Files that are replaced atomically."""

from __future__ import annotations

from pathlib import Path

from model.files import write_atomically


def test_write_atomically_replaces_a_file(tmp_path: Path) -> None:
    file = tmp_path / "state"
    write_atomically(file, b"first")
    write_atomically(file, b"second")
    assert file.read_bytes() == b"second"
    assert list(tmp_path.iterdir()) == [file]
