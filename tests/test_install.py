"""`make install TORCH_INDEX=…` takes torch and torchvision from that index, and the rest from pip's own."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSIONS = {
    name: re.search(rf"^{name}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]  # type: ignore[index]
    for name in ("torch", "torchvision")
}


@pytest.fixture
def index(tmp_path: Path) -> str:
    """A package index with CPU builds of torch and torchvision: empty wheels with a local version."""
    for name, version in VERSIONS.items():
        folder, local = tmp_path / "index" / name, f"{version.partition('+')[0]}+cpu"
        folder.mkdir(parents=True)
        wheel, info = f"{name}-{local}-py3-none-any.whl", f"{name}-{local}.dist-info"
        with zipfile.ZipFile(folder / wheel, "w") as archive:
            requires = "Requires-Dist: a-package-that-only-pips-own-index-has\n"
            archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {local}\n{requires}")
            archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{info}/RECORD", "")
        (folder / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')
    return (tmp_path / "index").as_uri()


def install(folder: Path, *variables: str) -> list[str]:
    """Runs `make install` in a copy of the build files; pip is real for a given index, and otherwise only logged.

    Returns pip's command lines, in order.
    """
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    programs, log = folder / ".venv" / "bin", folder / "log"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    pip = programs / "pip"
    real = f"{sys.executable} -m pip"
    pip.write_text(
        f'#!/bin/sh\necho "$*" >> {log}\n'
        f'case "$*" in *--index-url*) exec {real} "$@" --target {folder}/site --quiet --quiet;; esac\n'
    )
    pip.chmod(0o755)
    subprocess.run(["make", "install", *variables], cwd=folder, check=True, timeout=120, capture_output=True)
    return log.read_text().splitlines()


def test_torch_index_provides_torch_and_torchvision_before_the_rest(tmp_path: Path, index: str) -> None:
    first, second = install(tmp_path, f"TORCH_INDEX={index}")
    assert f"--index-url {index}" in first
    assert "--index-url" not in second
    assert second.endswith("-e .[serve]")
    installed = {path.name for path in (tmp_path / "site").glob("*.dist-info")}
    assert installed == {f"{name}-{version.partition('+')[0]}+cpu.dist-info" for name, version in VERSIONS.items()}


def test_default_installs_everything_from_pips_own_index(tmp_path: Path) -> None:
    (only,) = install(tmp_path)
    assert "--index-url" not in only
