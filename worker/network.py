"""The network as it is run for sampling: its precision, its compilation, its guidance, its padding.

What is chosen here is part of the build: pictures are the same bytes on the same build, and a build is never
left silently for another one.
"""

from __future__ import annotations

import math
import platform
import time

import numpy
import structlog
import torch
from torch import Tensor

from model.checkpoint import Checkpoint
from model.hardware import can_compile, has_bf16
from model.samplers import guide

log = structlog.get_logger()

# A batch of one is compiled as a special case and float32 on a CPU changes kernels below six rows: either would
# let the number of neighbours into the picture. On CUDA every size may choose other kernels, so there is one size.
SMALLEST_BF16_BATCH = 2
SMALLEST_FLOAT32_BATCH = 8
MEASURED_ROWS = 1, 4, 16, 64
MEASUREMENTS = 3
LONG_SECONDS = 0.3
MOST_MODELS = 256  # that one process may compile


class Network:
    """A checkpoint's U-Net, ready to be asked about a batch of rows at different timesteps.

    max_rows  the most rows it is asked about at once
    """

    def __init__(self, checkpoint: Checkpoint, device: torch.device, max_rows: int) -> None:
        self.device = device
        self.dtype = torch.bfloat16 if has_bf16(device) else torch.float32
        self._max_rows = max_rows
        self._null_class = checkpoint.null_class
        self._unet = checkpoint.unet.to(device, self.dtype).to(memory_format=torch.channels_last)
        self._compiles = can_compile()
        if self._compiles:
            # Every network shares UNet.forward, for which dynamo would otherwise grow shapes dynamic from one model
            # to the next, and after eight of them run eagerly without a word: other bytes, by order of arrival.
            torch._dynamo.config.recompile_limit = MOST_MODELS
            torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._run = torch.compile(self._unet, dynamic=False) if self._compiles else self._unet
        self._seconds: dict[int, float] = {}  # by number of rows, rising

    @property
    def build(self) -> str:
        """What computes here, in words."""
        how = "compiled" if self._compiles else "eager"
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.machine()
        return f"torch {torch.__version__} {self.device.type} {name} {str(self.dtype).removeprefix('torch.')} {how}"

    @torch.no_grad()
    def warm(self) -> None:
        """Makes ready: compiles, where that is still to be done (seconds from the cache on disk, else up to a minute),
        and measures how long a forward takes."""
        if self._seconds:
            return
        if self._compiles:
            config = self._unet.config
            log.info("compiling", size=config.sample_size, channels=config.block_out_channels)
            inputs = self._blank(max(self._size(1), SMALLEST_FLOAT32_BATCH))
            if self.device.type == "cpu":
                for tensor in inputs:
                    torch._dynamo.mark_dynamic(tensor, 0)
            self._run(*inputs)
        for size in (self._size(rows) for rows in (*MEASURED_ROWS, self._max_rows)):
            if size not in self._seconds:
                self._seconds[size] = self._measure(size)
            if self._seconds[size] > LONG_SECONDS:  # more rows take longer in proportion
                break

    def seconds(self, rows: int) -> float:
        """About how long a forward of so many rows takes, from what was measured when this was made ready."""
        self.warm()
        whole, rest = divmod(rows, self._max_rows)
        return whole * self._seconds_of(self._max_rows) + (self._seconds_of(rest) if rest else 0.0)

    def _seconds_of(self, rows: int) -> float:
        size, sizes, seconds = self._size(rows), list(self._seconds), list(self._seconds.values())
        if size > sizes[-1]:
            return seconds[-1] * size / sizes[-1]
        return float(numpy.interp(size, sizes, seconds))

    def _measure(self, rows: int) -> float:
        """The fastest of a few: what else the machine does is not ours to count."""
        inputs, fastest = self._blank(rows), math.inf
        for _ in range(MEASUREMENTS):
            clock = time.perf_counter()
            self._run(*inputs)
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            fastest = min(fastest, time.perf_counter() - clock)
            if fastest > LONG_SECONDS:
                break
        return fastest

    def _blank(self, rows: int) -> list[Tensor]:
        """Inputs of the right shapes."""
        config = self._unet.config
        x = torch.zeros(rows, config.in_channels, config.sample_size, config.sample_size, device=self.device)
        t = torch.zeros(rows, dtype=torch.int64, device=self.device)
        return [x, t] if config.num_class_embeds is None else [x, t, torch.zeros_like(t)]

    @torch.no_grad()
    def __call__(self, x: Tensor, t: Tensor, labels: Tensor | None, guidance: Tensor) -> Tensor:
        """The guided prediction (B, C, H, W) in float32.

        x         (B, C, H, W) float32
        t         (B,) int64
        labels    (B,) int64, or None for a network without classes
        guidance  (B,) float32; rows other than 1 are asked about twice
        """
        self.warm()
        guided = (guidance != 1).nonzero().squeeze(1) if labels is not None else torch.empty(0, dtype=torch.int64)
        if labels is None or not len(guided):
            return self._forward(x, t, labels)
        null = torch.full_like(labels[guided], self._null_class or 0)
        output = self._forward(torch.cat([x, x[guided]]), torch.cat([t, t[guided]]), torch.cat([labels, null]))
        output, unconditional = output[: len(x)], output[len(x) :]
        scale = guidance[guided, None, None, None]
        output[guided] = guide(output[guided], unconditional, scale)
        return output

    @torch.no_grad()
    def predict(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The same without guidance, from and to the CPU."""
        self.warm()
        moved = None if labels is None else labels.to(self.device)
        return self._forward(x.to(self.device), t.to(self.device), moved).cpu()

    def _forward(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        return torch.cat(
            [
                self._padded(x[i : i + self._max_rows], t[i : i + self._max_rows], _slice(labels, i, self._max_rows))
                for i in range(0, len(x), self._max_rows)
            ]
        )

    def _padded(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        missing = self._size(len(x)) - len(x)
        if missing:
            x = torch.cat([x, x[:1].expand(missing, -1, -1, -1)])
            t = torch.cat([t, t[:1].expand(missing)])
            labels = None if labels is None else torch.cat([labels, labels[:1].expand(missing)])
        arguments = (x, t) if labels is None else (x, t, labels)
        return self._run(*arguments)[: len(x) - missing].float()

    def _size(self, rows: int) -> int:
        """How many rows the network is given, so that how many are asked for cannot be seen in any of them."""
        if self.device.type == "cuda":
            return self._max_rows
        return max(rows, SMALLEST_BF16_BATCH if self.dtype == torch.bfloat16 else SMALLEST_FLOAT32_BATCH)


def _slice(labels: Tensor | None, start: int, count: int) -> Tensor | None:
    return None if labels is None else labels[start : start + count]
