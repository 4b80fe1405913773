"""What the machine can do."""

from __future__ import annotations

import shutil
import sys

import torch


def default_device(name: str | None = None) -> torch.device:
    """The named device; without a name a GPU, where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 runs in hardware there; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def can_compile() -> bool:
    """Whether `torch.compile` has what it needs: a C++ compiler, for Triton's launchers too."""
    return sys.platform != "win32" and any(shutil.which(name) for name in ("g++", "clang++"))
