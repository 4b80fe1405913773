"""What the machine can do: here, compile, whatever an earlier process left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.hardware import can_compile

COMPILES = """
import torch
from model.hardware import compiling
compiling(lambda: torch.compile(torch.sin)(torch.ones(100)))
"""


@pytest.mark.skipif(not can_compile(), reason="needs a C++ compiler")
def test_what_a_killed_compiler_left_is_thrown_away(tmp_path: Path) -> None:
    def compile_sine() -> list[Path]:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
        subprocess.run([sys.executable, "-c", COMPILES], env=environment, check=True, timeout=240)
        return list(tmp_path.rglob("*.so"))

    written = compile_sine()
    assert written
    for path in written:
        path.write_bytes(b"")
    assert all(path.stat().st_size > 0 for path in compile_sine())
