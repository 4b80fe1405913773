"""The shell commands of docs/tutorial.md, run as one script against a running service."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.service import Service, running

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial.md").read_text()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository's folder with the `digits` model."""
    shutil.copytree(ROOT / "checkpoints/digits", tmp_path / "checkpoints/digits")
    (tmp_path / "var").mkdir()
    return tmp_path


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    with running(Service(folder / "checkpoints", folder / "var")) as service:
        yield service


@pytest.mark.timeout(900)  # compilation, on a machine with other work
def test_tutorial_commands_succeed(service: Service, folder: Path) -> None:
    start, *blocks = re.findall(r"^```sh\n(.*?)^```$", TUTORIAL, re.MULTILINE | re.DOTALL)
    assert start == "make serve\n"  # the fixture has done this
    script = "".join(blocks).replace("http://127.0.0.1:8000", service.url)
    script = script.replace(".venv/bin/noisemill", f"{sys.executable} -m noisemill")
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, timeout=800)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode() + service.log.read_text()
    assert b"1 event: done" in done.stdout
    with Image.open(folder / "grid.png") as grid:
        assert grid.size == (4 * 9 - 1, 4 * 9 - 1)
    assert len(list((folder / "samples").glob("*.png"))) == 4
    assert '"status":"finished"' in (folder / "tutorial.json").read_text().replace(" ", "")
