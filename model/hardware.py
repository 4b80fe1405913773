"""What the machine can do."""

from __future__ import annotations

import os
import shutil
import sys

import torch
import torch.distributed as dist


def default_device(name: str | None = None) -> torch.device:
    """The named device; without a name a GPU, where there is one."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def join_processes(device: str | None) -> tuple[str | None, bool]:
    """Joins the processes that torchrun has started, if it has: this one's device, and whether it is the first."""
    if "WORLD_SIZE" not in os.environ:
        return device, True
    kind = default_device(device).type
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    if kind == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    return device, dist.get_rank() == 0


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 runs in hardware there; elsewhere it is emulated, and slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def can_compile() -> bool:
    """Whether `torch.compile` has what it needs: a C++ compiler, for Triton's launchers too."""
    return sys.platform != "win32" and any(shutil.which(name) for name in ("g++", "clang++"))
