"""Philox against Random123's known answers, the normals against the exact inverse distribution."""

from __future__ import annotations

import pytest
import scipy.special
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sampling import noise
from model.sampling.noise import MASK32, MULTIPLIERS, ROUNDS, WEYL, Tag

SHAPE = (3, 5, 7)  # 105 numbers: not a multiple of Philox's four words
SEEDS = st.integers(0, 2**64 - 1)
UINT32 = st.integers(0, 2**32 - 1)


def x_T(seed: int, index: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:  # noqa: N802
    return noise.x_T(torch.tensor([noise.to_int64(seed)]), torch.tensor([index]), shape)[0]


def step_noise(seed: int, index: int, row: int, shape: tuple[int, int, int] = SHAPE) -> torch.Tensor:
    seeds = torch.tensor([noise.to_int64(seed)])
    return noise.step_noise(seeds, torch.tensor([index]), torch.tensor([row]), shape)[0]


def plain_philox(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]:
    """Salmon et al. 2011, section 3.2 and figure 4, in Python's whole numbers."""
    (r0, l0, r1, l1), (k0, k1) = counter, key
    for _ in range(ROUNDS):
        high0, low0 = divmod(r0 * MULTIPLIERS[0], 1 << 32)
        high1, low1 = divmod(r1 * MULTIPLIERS[1], 1 << 32)
        r0, l0, r1, l1 = high1 ^ l0 ^ k0, low1, high0 ^ l1 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK32, (k1 + WEYL[1]) & MASK32
    return r0, l0, r1, l1


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([MASK32] * 4, [MASK32] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_philox_gives_the_known_answers(counter: list[int], key: list[int], answer: list[int]) -> None:
    """The `philox4x32 10` lines of kat_vectors in Random123."""
    c0, c1, c2, c3 = (torch.tensor([word]) for word in counter)
    k0, k1 = (torch.tensor([word]) for word in key)
    assert [word.item() for word in noise.philox((c0, c1, c2, c3), (k0, k1))] == answer


@given(st.tuples(UINT32, UINT32, UINT32, UINT32), st.tuples(UINT32, UINT32))
def test_philox_is_the_papers_algorithm(counter: tuple[int, int, int, int], key: tuple[int, int]) -> None:
    c0, c1, c2, c3 = (torch.tensor(word) for word in counter)
    words = noise.philox((c0, c1, c2, c3), (torch.tensor(key[0]), torch.tensor(key[1])))
    assert tuple(word.item() for word in words) == plain_philox(counter, key)


@given(SEEDS, UINT32, st.integers(0, 999))
@settings(max_examples=30)
def test_seed_index_row_and_tag_are_the_counter_and_the_key(seed: int, index: int, row: int) -> None:
    """All 64 bits of a seed count, up to the last one below 2^64."""
    key = (seed & MASK32, seed >> 32)
    for tag, drawn in ((Tag.X_T, x_T(seed, index)), (Tag.STEP, step_noise(seed, index, row))):
        of_row = row if tag is Tag.STEP else 0
        words = [word for block in range(27) for word in plain_philox((block, of_row, index, tag), key)]
        assert torch.equal(drawn.flatten(), noise.normal_from_bits(torch.tensor(words[: drawn.numel()])))


def exact_normal(words: torch.Tensor) -> torch.Tensor:
    """The normal whose probability is the lower 31 bits, in the middle of their 2^-32; the top bit is the sign."""
    p = ((words & 0x7FFFFFFF).double() + 0.5) * 2.0**-32
    z = torch.from_numpy(scipy.special.ndtri(p.numpy()))
    return torch.where(words < 1 << 31, z, -z)


def test_normals_are_the_exact_inverse_distribution_to_3e_6() -> None:
    generator = torch.Generator().manual_seed(0)
    powers = torch.tensor([(1 << k) + d for k in range(32) for d in (-1, 0, 1)])
    ends = torch.tensor([0, (1 << 31) - 1, 1 << 31, MASK32])
    words = torch.cat([torch.randint(1 << 32, (1_000_000,), generator=generator), powers, ends])
    z = noise.normal_from_bits(words)
    assert z.dtype == torch.float32
    assert (z.double() - exact_normal(words)).abs().max() < 3e-6


def test_normals_are_symmetric() -> None:
    words = torch.arange(0, 1 << 31, (1 << 31) // 10_007)
    assert torch.equal(noise.normal_from_bits(words), -noise.normal_from_bits(words + (1 << 31)))


@pytest.mark.parametrize("tag", list(Tag))
def test_noise_is_normal(tag: Tag) -> None:
    """Kolmogorov-Smirnov, one seed, many images; the seed is fixed, so the answer is too."""
    shape = (1, 128, 128)
    drawn = [x_T(7, i, shape) if tag is Tag.X_T else step_noise(7, i, i, shape) for i in range(8)]
    z = torch.stack(drawn).flatten()
    assert scipy.stats.kstest(z.numpy(), "norm").pvalue > 0.01
    count = len(z)
    assert abs(z.mean().item()) < 5 / count**0.5
    assert abs(z.var().item() - 1) < 5 * (2 / count) ** 0.5
    assert abs((z**4).mean().item() - 3) < 5 * (96 / count) ** 0.5  # the fourth power's variance is 105 - 9


def test_neighbours_are_independent() -> None:
    """Noise that differs in one of seed, index, row, tag or position is uncorrelated."""
    shape = (1, 128, 128)
    here = step_noise(1, 2, 3, shape).flatten()
    others = {
        "seed": step_noise(2, 2, 3, shape),
        "seed's upper half": step_noise(1 + (1 << 32), 2, 3, shape),
        "index": step_noise(1, 3, 3, shape),
        "row": step_noise(1, 2, 4, shape),
        "tag": x_T(1, 2, shape),
        "index and row swapped": step_noise(1, 3, 2, shape),
        "position": here.roll(1),
    }
    for name, other in others.items():
        correlation = torch.corrcoef(torch.stack([here, other.flatten()]))[0, 1].item()
        assert abs(correlation) < 5 / len(here) ** 0.5, name


def test_x_T_is_not_the_first_steps_noise() -> None:  # noqa: N802
    assert not torch.equal(x_T(5, 0), step_noise(5, 0, 0))


rows = st.lists(st.tuples(SEEDS, UINT32, st.integers(0, 999)), min_size=1, max_size=9)


@given(rows)
@settings(max_examples=40)
def test_noise_of_a_batch_is_bitwise_that_of_each_image_alone(batch: list[tuple[int, int, int]]) -> None:
    """For any neighbours, in any number and order."""
    seeds = torch.tensor([noise.to_int64(seed) for seed, _, _ in batch])
    indices, of_rows = torch.tensor([i for _, i, _ in batch]), torch.tensor([row for _, _, row in batch])
    together, starts = noise.step_noise(seeds, indices, of_rows, SHAPE), noise.x_T(seeds, indices, SHAPE)
    for position, (seed, index, row) in enumerate(batch):
        assert torch.equal(together[position], step_noise(seed, index, row))
        assert torch.equal(starts[position], x_T(seed, index))


def test_noise_of_a_large_batch_is_bitwise_that_of_each_image_alone() -> None:
    """Large enough for every vector width and several threads."""
    indices = torch.arange(300)
    seeds = torch.full_like(indices, 11)
    together = noise.step_noise(seeds, indices, indices % 7, (3, 16, 16))
    for i in range(0, 300, 37):
        assert torch.equal(together[i], step_noise(11, i, i % 7, (3, 16, 16)))


@given(SEEDS)
def test_seed_as_int64_keeps_its_bits(seed: int) -> None:
    signed = noise.to_int64(seed)
    assert -(1 << 63) <= signed < 1 << 63
    assert signed % (1 << 64) == seed


@pytest.mark.parametrize("seed", [0, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 2])
def test_next_seed_gives_other_noise(seed: int) -> None:
    assert not torch.equal(x_T(seed, 0), x_T(seed + 1, 0))
    assert torch.isfinite(x_T(seed, 0)).all()
