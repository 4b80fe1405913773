"""The machine: device, processes, bfloat16, compilation and the C library's allocator."""

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

CPU_BF16 = "avx512_bf16", "amx_bf16", "bf16"  # instruction sets with bfloat16 products, on x86 and ARM
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)


def default_device(name: str | None = None) -> torch.device:
    """The named device; without a name a GPU if there is one, else the CPU."""
    return torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))


def join_processes(device: str | None) -> tuple[str | None, bool]:
    """Joins the process group under torchrun. Returns this process' device, and whether its rank is 0."""
    if "WORLD_SIZE" not in os.environ:
        return device, True
    kind = default_device(device).type
    dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    if kind == "cuda":
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    return device, dist.get_rank() == 0


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware.

    Otherwise torch emulates it: on a CPU with AVX-512 alone, a forward of 64 rows takes three times that of float32.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(capabilities.get(name) for name in CPU_BF16)


def can_compile() -> bool:
    """Whether there is a C++ compiler, which `torch.compile` needs on CUDA too (for Triton's launchers)."""
    return sys.platform != "win32" and any(shutil.which(name) for name in ("g++", "clang++"))


def compiled(network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """The network compiled for sampling, once per shape, except for dimensions marked as dynamic."""
    if device.type == "cuda":  # one CUDA graph per size: launching single kernels takes longer than running them
        return cast(Callable[..., Tensor], torch.compile(network, dynamic=False, mode="reduce-overhead"))
    # Stores intermediates of more than eight operations, such as a norm's scale and shift, instead of recomputing them
    # for each pixel. Training does not benefit.
    options = compile_options(device) | {"realize_opcount_threshold": 8}
    return cast(Callable[..., Tensor], torch.compile(network, dynamic=False, options=options))


def compiling(run: Callable[[], object]) -> None:
    """Calls `run`, which compiles; if a file in the cache on disk cannot be loaded, empties the cache and retries.

    A process that was killed may leave an incomplete file, which would break every later compilation.
    """
    # It warns that CUDA is missing, which is not needed.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    try:
        run()
    except Exception as error:
        if not isinstance(getattr(error, "inner_exception", None), ImportError | OSError):
            raise
        from torch._inductor.runtime.cache_dir_utils import cache_dir  # takes seconds to import

        shutil.rmtree(cache_dir(), ignore_errors=True)
        run()


def compile_options(device: torch.device) -> CompileOptions:
    """Options of the compiler. On a CPU, short sums are stored, not recomputed for each pixel (unet.GroupNorm)."""
    return {"unroll_reductions_threshold": 1} if device.type == "cpu" else {}


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory for the next layer instead of returning it to the system.

    Activations take several MB. By default the kernel would clear the same pages again for every layer, which takes
    17 % of a forward of 64 rows of 28×28. No effect without glibc.
    """
    with suppress(AttributeError, OSError):  # no glibc
        library = ctypes.CDLL(None)
        for parameter, value in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1)):
            library.mallopt(parameter, value)
