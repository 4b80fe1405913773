"""What the machine can do."""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

CompileOptions = dict[str, str | int | bool | Callable[..., object]]

CPU_BF16 = "avx512_bf16", "amx_bf16", "bf16"  # products of bfloat16: of x86, and of ARM
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of mallopt(3)


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
    """Whether bfloat16 is multiplied in hardware there.

    Elsewhere torch emulates it: on a CPU with AVX-512 alone, a forward of 64 rows takes three times that of float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(capabilities.get(name) for name in CPU_BF16)


def can_compile() -> bool:
    """Whether `torch.compile` has what it needs: a C++ compiler, for Triton's launchers too."""
    return sys.platform != "win32" and any(shutil.which(name) for name in ("g++", "clang++"))


def compiled(network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """A network as it is compiled for sampling, anew for each shape that is not marked as dynamic."""
    if device.type == "cuda":  # records a graph for each size: launching kernels one by one takes longer than they do
        return cast(Callable[..., Tensor], torch.compile(network, dynamic=False, mode="reduce-overhead"))
    # Kept as well: what takes more than eight operations, as a norm's scale and shift. Training gains nothing by it.
    options = compile_options(device) | {"realize_opcount_threshold": 8}
    return cast(Callable[..., Tensor], torch.compile(network, dynamic=False, options=options))


def compiling(run: Callable[[], object]) -> None:
    """Calls `run`, which compiles; once more with an empty cache on disk where what lies there cannot be loaded.

    A process that was killed may leave half a file, over which every later one would stumble.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it misses a CUDA that is not needed
    try:
        run()
    except Exception as error:
        if not isinstance(getattr(error, "inner_exception", None), ImportError | OSError):
            raise
        from torch._inductor.runtime.cache_dir_utils import cache_dir  # takes seconds to import

        shutil.rmtree(cache_dir(), ignore_errors=True)
        run()


def compile_options(device: torch.device) -> CompileOptions:
    """A sum of few numbers is kept, rather than computed anew by each pixel that needs it (unet.GroupNorm)."""
    return {"unroll_reductions_threshold": 1} if device.type == "cpu" else {}


def keep_freed_memory() -> None:
    """Has the C library keep what a network frees, for its next layer, instead of giving it back to the system.

    Activations are of several MB, and glibc would have the kernel clear the same pages again and again: 17 % of a
    forward of 64 rows of 28×28. Elsewhere nothing is changed.
    """
    with suppress(AttributeError, OSError):  # no glibc
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1)):
            library.mallopt(parameter, value)
