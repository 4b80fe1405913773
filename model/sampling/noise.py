"""Counter-based noise: each number is a pure function of (seed, index, row of the table, position).

There is no state, so an image's noise is the same alone, in a batch, on another worker and after a crash.
Every operation is exact in integers or rounded once by IEEE rules, so the bits are the same on every device
and for every vector width (those of log and cos are not, which rules out Box-Muller).
"""

from __future__ import annotations

import math
from enum import IntEnum
from functools import cache

import torch
from torch import Tensor

MASK32 = 0xFFFFFFFF
# Philox-4x32-10: multipliers and Weyl constants (Salmon et al. 2011, section 3.2 and table 2).
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
SEGMENT_BITS = 8  # 2^8 segments per octave of the inverse normal distribution


class Tag(IntEnum):
    """The purpose of the noise; each has its own stream."""

    X_T = 0
    STEP = 1


def x_T(seeds: Tensor, indices: Tensor, shape: tuple[int, int, int]) -> Tensor:  # noqa: N802 (the paper's name)
    """The initial noise of each image: (B, *shape) float32, the same for every sampler.

    seeds    (B,) int64, the two's complement of 0 … 2^64 - 1
    indices  (B,) int64, 0 … 2^32 - 1: which image of the seed
    """
    return _normal(seeds, indices, torch.zeros_like(indices), Tag.X_T, shape)


def step_noise(seeds: Tensor, indices: Tensor, rows: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The noise of row `rows` (B,) of each image's table: (B, *shape) float32. Seeds and indices as in `x_T`."""
    return _normal(seeds, indices, rows, Tag.STEP, shape)


def to_int64(seed: int) -> int:
    """A seed of 0 … 2^64 - 1 as the int64 with the same bits."""
    return seed - (1 << 64) if seed >= 1 << 63 else seed


def _normal(seeds: Tensor, indices: Tensor, rows: Tensor, tag: Tag, shape: tuple[int, int, int]) -> Tensor:
    size = math.prod(shape)
    blocks = torch.arange(-(-size // 4), device=seeds.device)
    words = philox(
        (blocks[None], rows[:, None], indices[:, None], torch.full_like(rows, tag)[:, None]),
        (seeds[:, None] & MASK32, (seeds[:, None] >> 32) & MASK32),
    )
    return normal_from_bits(torch.stack(words, dim=-1).flatten(1)[:, :size]).view(-1, *shape)


def philox(
    counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random 32-bit words for each counter, as int64 tensors (Philox-4x32-10, Salmon et al. 2011)."""
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        # int64 products wrap, and their low 64 bits are those of the unsigned product.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = (p1 >> 32).bitwise_and_(MASK32).bitwise_xor_(c1).bitwise_xor_(k0)
        c2 = (p0 >> 32).bitwise_and_(MASK32).bitwise_xor_(c3).bitwise_xor_(k1)
        c1, c3 = p1.bitwise_and_(MASK32), p0.bitwise_and_(MASK32)
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return c0, c1, c2, c3


def normal_from_bits(words: Tensor) -> Tensor:
    """Standard normals (float32) from 32-bit words (int64), by a table of the inverse distribution.

    One bit is the sign; the other 31 are a probability p in (0, 1/2), whose float's exponent and leading
    mantissa bits are the table's index: segments shrink with p, so the tails are as exact as the middle
    (Lee et al. 2006). Linear interpolation between entries: error below 3e-6, |z| up to 6.3.
    """
    p = (words & 0x7FFFFFFF).double().add_(0.5)  # exact; times 2^-32 it is the probability
    bits = p.view(torch.int64)
    index = (bits >> (52 - SEGMENT_BITS)) - _first_segment()
    start, slope = _segments(words.device)
    within = (bits & ((1 << (52 - SEGMENT_BITS)) - 1)).double()  # exact; the slope is per unit
    z = start.take(index) + within * slope.take(index)
    return (z * (1 - 2 * (words >> 31))).float()


def _first_segment() -> int:
    """The index bits of the smallest p, 0.5: biased exponent 1022, mantissa 0."""
    return 1022 << SEGMENT_BITS


@cache
def _segments(device: torch.device) -> tuple[Tensor, Tensor]:
    """Start of each segment on the normal's quantile function, and its slope per unit of mantissa."""
    octaves = 32  # p = 2^-1 … 2^31, in units of 2^-32
    edges = torch.arange(octaves << SEGMENT_BITS, dtype=torch.int64) + _first_segment()
    left = (edges << (52 - SEGMENT_BITS)).view(torch.float64)
    right = ((edges + 1) << (52 - SEGMENT_BITS)).view(torch.float64)
    start, end = torch.special.ndtri(left * 2.0**-32), torch.special.ndtri(right * 2.0**-32)
    slope = (end - start) / 2.0 ** (52 - SEGMENT_BITS)
    return start.to(device), slope.to(device)
