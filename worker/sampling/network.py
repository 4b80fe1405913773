"""The network for sampling: precision, compilation, guidance and padding.

These choices are part of the build's name. Images have the same bytes on the same build, so a change of a choice must
change the name.
"""

from __future__ import annotations

import os
import platform
import time
from functools import cached_property
from importlib.metadata import version

import structlog
import torch
from torch import Tensor

from jobs.pace import Pace
from model.checkpoint import Checkpoint
from model.hardware import can_compile, compiled, compiling, has_bf16, keep_freed_memory
from model.sampling.samplers import guide
from worker.sampling import pacing

log = structlog.get_logger()

# A batch of one row is compiled as a special case, and float32 on a CPU uses other kernels below six rows. In either
# case an image's bytes would depend on the batch size.
SMALLEST_BF16_BATCH = 2
SMALLEST_FLOAT32_BATCH = 8
CUDA_BATCH = 256  # fixed CUDA batch size in deterministic mode: not measured, since it is part of the build
MAX_COMPILED_MODELS = 256  # per process


class Network:
    """A checkpoint's U-Net, which predicts a batch of rows at different timesteps.

    max_rows       maximum rows in a batch; the best number up to it is measured
    deterministic  a row has the same bits in any batch. On CUDA each size may use other kernels, so one size is used;
                   on a CPU it holds for every size from the smallest on
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, max_rows: int, *, deterministic: bool = True
    ) -> None:
        keep_freed_memory()
        self.device = device
        self.dtype = torch.bfloat16 if has_bf16(device) else torch.float32
        self.deterministic = deterministic or device.type != "cuda"
        self._max_rows = max_rows
        self._smallest = SMALLEST_BF16_BATCH if self.dtype == torch.bfloat16 else SMALLEST_FLOAT32_BATCH
        self._fixed_size = device.type == "cuda" and deterministic
        if self._fixed_size:
            self._smallest = self._max_rows = min(max_rows, CUDA_BATCH)
        self._null_class = checkpoint.null_class
        self._unet = checkpoint.unet.to(device, self.dtype).to(memory_format=torch.channels_last)
        self._compiles = can_compile()
        if self._compiles:
            # All networks share UNet.forward. By default, after eight recompilations of it, dynamo would silently run
            # further models eagerly: their bytes would depend on the order in which models are loaded.
            torch._dynamo.config.recompile_limit = MAX_COMPILED_MODELS
            torch._dynamo.config.fail_on_recompile_limit_hit = True
        self._run = compiled(self._unet, device) if self._compiles else self._unet
        self._pace: Pace | None = None

    @cached_property
    def build(self) -> str:
        """Versions, device, precision and mode: together they determine the bytes."""
        how = "compiled" if self._compiles else "eager"
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else platform.machine()
        dtype, size = str(self.dtype).removeprefix("torch."), f" by {self._max_rows}" if self._fixed_size else ""
        versions = f"noisemill {version('noisemill')} torch {torch.__version__}"
        return f"{versions} {self.device.type} {name} {dtype} {how}{size}"

    @property
    def pace(self) -> Pace:
        """Duration of its batches, and the best size. Compiles and measures first if needed."""
        self.warm()
        assert self._pace is not None
        return self._pace

    @property
    def is_warm(self) -> bool:
        return self._pace is not None

    @property
    def expected_pace(self) -> Pace | None:
        """Its pace, or until it is ready the one saved by an earlier start; None if never measured on this machine."""
        return self._pace or pacing.recall(self._pace_key)

    @property
    def is_new(self) -> bool:
        """Whether it still needs its first compilation on this machine, which takes up to a minute."""
        return self._compiles and self._pace is None and pacing.recall(self._pace_key) is None

    def warm(self) -> None:
        """Compiles, and measures its pace unless an earlier start saved it."""
        if self._pace is not None:
            return
        config = self._unet.config
        log.info("making ready", size=config.sample_size, channels=config.block_out_channels)
        known, began = pacing.recall(self._pace_key), time.perf_counter()
        self.compile()
        if known is None:
            self.measure()
        else:
            pacing.keep(self._pace_key, known.model_copy(update={"ready_seconds": time.perf_counter() - began}))
            self._pace = known.model_copy(update={"ready_seconds": 0.0})

    def measure(self) -> None:
        """Measures its pace, and saves it for later starts."""
        self._pace = pacing.measured(self._time, self._smallest, self._max_rows)
        pacing.keep(self._pace_key, self._pace)

    @torch.no_grad()
    def compile(self) -> None:
        """Compiles, if this platform can: in seconds from the cache on disk, else in up to a minute."""
        if not self._compiles:
            return
        inputs = self._zero_inputs(max(self._smallest, SMALLEST_FLOAT32_BATCH))
        if not self._fixed_size:
            for tensor in inputs:
                torch._dynamo.mark_dynamic(tensor, 0)
        compiling(lambda: self._run(*inputs))

    @property
    def _pace_key(self) -> str:
        """Text of everything that its pace depends on."""
        return f"{self.build} {os.cpu_count()} {self._max_rows} {self._unet.config}"

    @torch.no_grad()
    def _time(self, rows: int) -> float:
        """Seconds of one batch."""
        inputs = self._zero_inputs(rows)
        clock = time.perf_counter()
        self._run(*inputs)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - clock

    def _zero_inputs(self, rows: int) -> list[Tensor]:
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
        guidance  (B,) float32, on the CPU, so that no device synchronization is needed; rows other than 1 are evaluated
                  twice
        """
        guided = (guidance != 1).nonzero().squeeze(1)
        if labels is None or not len(guided):
            return self._forward(x, t, labels)
        scale = guidance[guided].to(self.device, non_blocking=True)[:, None, None, None]
        guided = guided.to(self.device, non_blocking=True)
        null = torch.full_like(labels[guided], self._null_class or 0)
        output = self._forward(torch.cat([x, x[guided]]), torch.cat([t, t[guided]]), torch.cat([labels, null]))
        output, unconditional = output[: len(x)], output[len(x) :]
        output[guided] = guide(output[guided], unconditional, scale)
        return output

    @torch.no_grad()
    def predict(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        """The prediction without guidance, from and to the CPU."""
        moved = None if labels is None else labels.to(self.device)
        return self._forward(x.to(self.device), t.to(self.device), moved).cpu()

    def _forward(self, x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
        batches = [x.split(self.pace.batch), t.split(self.pace.batch)]
        if labels is not None:
            batches.append(labels.split(self.pace.batch))
        return torch.cat([self._batch(*each) for each in zip(*batches, strict=True)])

    def _batch(self, *inputs: Tensor) -> Tensor:
        """One batch, padded with its first row, in float32."""
        rows = len(inputs[0])
        missing = self._size(rows) - rows
        if missing:
            inputs = tuple(torch.cat([each, each[:1].expand(missing, *each.shape[1:])]) for each in inputs)
        if self.device.type == "cuda" and self._compiles:
            torch.compiler.cudagraph_mark_step_begin()
        return self._run(*inputs)[:rows].to(torch.float32, copy=True)  # a CUDA graph reuses its output's memory

    def _size(self, rows: int) -> int:
        """Rows of the padded batch. At these sizes the bits of a row are independent of `rows`."""
        if self.device.type == "cuda":
            return next(size for size in self.pace.rows if size >= rows)
        return max(rows, self._smallest)
