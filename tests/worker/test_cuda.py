"""Batch invariance on a GPU, where one fixed batch size and integer noise provide it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from jobs.schema import JobSpec
from model.sampling import noise
from tests.jobs.factories import spec
from worker.catalog import Model, load_model
from worker.offline import sample

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def model(tiny: Path) -> Model:
    return load_model(tiny, CUDA, slots=16, max_count=100)


def images(model: Model, asked: JobSpec) -> torch.Tensor:
    return sample(model, asked)


def test_image_alone_equals_image_in_batch(model: Model) -> None:
    together = images(model, spec(count=9, labels=[3] * 9, null_class=10, steps=20, guidance_scale=2.0))
    alone = spec(count=1, first_index=4, labels=[3], null_class=10, steps=20, guidance_scale=2.0)
    assert torch.equal(images(model, alone)[0], together[4])


def test_noise_equals_that_of_the_cpu() -> None:
    seeds, indices = torch.tensor([7, -1]), torch.tensor([0, 3])
    on_cpu = noise.x_T(seeds, indices, (3, 32, 32))
    assert torch.equal(noise.x_T(seeds.to(CUDA), indices.to(CUDA), (3, 32, 32)).cpu(), on_cpu)
