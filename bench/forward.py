"""The network alone by batch size, relative to diffusers' and to the machine's peak: python -m bench.forward

The peak is the fastest product of square bfloat16 matrices; a network's share of it counts only its multiplications
and additions.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import torch
import typer
from diffusers import UNet2DModel
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from bench.report import interleaved, machine, spread, table, times, write_performance
from model import checkpoint
from model.hardware import compiled, default_device, has_bf16, keep_freed_memory
from model.networks.unet import UNet

ROWS = {"cpu": (1, 4, 16, 64), "cuda": (1, 4, 16, 64, 256, 1024)}
MATRICES = 1024, 2048, 4096
SECONDS = 0.5  # per side and round

Compiler = Callable[[UNet, torch.device], Callable[..., Tensor]]


def per_second(device: torch.device, run: Callable[..., object], *given: Tensor) -> Callable[[int], float]:
    """Calls per second, measured over about SECONDS."""

    def round_of(_: int) -> float:
        done, began = 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            run(*given)
            done += 1
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        return done / (time.perf_counter() - began)

    return round_of


def without_graphs(unet: UNet, device: torch.device) -> Callable[..., Tensor]:
    return cast(Callable[..., Tensor], torch.compile(unet, dynamic=False))


def inputs(unet: UNet, rows: int, device: torch.device) -> tuple[Tensor, ...]:
    config = unet.config
    x = torch.randn(rows, config.in_channels, config.sample_size, config.sample_size, device=device)
    t = torch.full((rows,), 500, device=device)
    return (x, t) if config.num_class_embeds is None else (x, t, torch.zeros_like(t))


@torch.no_grad()
def main(model: Path = Path("checkpoints/mnist"), device: str | None = None, rounds: int = 7) -> None:
    where = default_device(device)
    keep_freed_memory()  # as in the service; both sides benefit
    loaded = checkpoint.load(model)
    with FlopCounterMode(display=False) as counter:
        loaded.unet(*inputs(loaded.unet, 1, torch.device("cpu")))
    flops = counter.get_total_flops()

    theirs = UNet2DModel.from_pretrained(str(model / "unet"), low_cpu_mem_usage=False).to(where).eval()
    unet, sides = loaded.unet.to(where), dict[str, Callable[[int], float]]()
    dtypes = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if has_bf16(where) else {})
    variants: dict[str, tuple[torch.dtype, Compiler]] = {name: (dtype, compiled) for name, dtype in dtypes.items()}
    if where.type == "cuda":
        variants |= {f"{name}, no graphs": (dtype, without_graphs) for name, dtype in dtypes.items()}
    for rows in ROWS[where.type]:
        for name, (dtype, compiler) in variants.items():
            ours = checkpoint.load(model).unet.to(where, dtype).to(memory_format=torch.channels_last)
            run, given = compiler(ours, where), inputs(unet, rows, where)
            run(*given)
            sides[f"{rows} rows, {name}"] = per_second(where, run, *given)
        sides[f"{rows} rows, diffusers"] = per_second(where, theirs, *inputs(unet, rows, where))
    for size in MATRICES:
        square = torch.randn(size, size, device=where, dtype=torch.bfloat16)
        sides[f"product of {size}"] = per_second(where, torch.matmul, square, square)
    results = interleaved(sides, rounds)

    peak = max(2 * size**3 * statistics.median(results[f"product of {size}"]) for size in MATRICES)
    found = []
    for rows in ROWS[where.type]:
        theirs_rates = results[f"{rows} rows, diffusers"]
        for name in (*variants, "diffusers"):
            rates = results[f"{rows} rows, {name}"]
            share = statistics.median(rates) * rows * flops / peak
            ratio = "" if name == "diffusers" else times(rates, theirs_rates)
            found.append([str(rows), name, spread([rows * rate for rate in rates], 0), f"{share:.0%}", ratio])
    head = ["rows", "network", "rows/s: median (min to max)", "of peak", "speed-up over diffusers"]
    what = f"`{model.name}`: {flops / 1e9:.2f} GFLOP per row; the peak is {peak / 1e12:.2f} TFLOP/s"
    write_performance("forward", where, f"{what}. {machine(where)}.\n\n{table(head, found)}")


if __name__ == "__main__":
    typer.run(main)
