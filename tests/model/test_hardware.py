"""What the machine can do: compile, whatever an earlier process left behind, and multiply bfloat16."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from model.hardware import can_compile, has_bf16

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


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux")
def test_bfloat16_is_used_where_the_kernel_says_that_the_cpu_multiplies_it() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert has_bf16(torch.device("cpu")) == any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def test_bfloat16_is_not_used_where_torch_would_emulate_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cascade_lake = dict.fromkeys(("avx2", "avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_vnni"), True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cascade_lake)
    assert not has_bf16(torch.device("cpu"))
