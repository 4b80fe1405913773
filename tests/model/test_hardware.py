"""Compilation over a damaged cache, and detection of bfloat16 in hardware."""

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
def test_damaged_compiler_cache_is_emptied_and_compiled_again(tmp_path: Path) -> None:
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
def test_has_bf16_agrees_with_the_flags_in_proc_cpuinfo() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    assert has_bf16(torch.device("cpu")) == any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))


def test_has_bf16_is_false_on_a_cpu_with_avx512_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cascade_lake = dict.fromkeys(("avx2", "avx512_f", "avx512_bw", "avx512_vl", "avx512_dq", "avx512_vnni"), True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: cascade_lake)
    assert not has_bf16(torch.device("cpu"))
