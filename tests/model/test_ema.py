"""The moving average against torch's AveragedModel and against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from model.training.ema import EMA


def random_weights(network: nn.Linear, steps: int) -> list[Tensor]:
    """The weights after each step of a training."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(network.weight.shape, generator=generator) for _ in range(steps)]


def averaged(decay: float, first_step: int, steps: int = 20) -> tuple[EMA, nn.Linear, list[Tensor]]:
    network = nn.Linear(3, 4)
    ema = EMA(network, nn.Linear(3, 4), decay)
    seen = [network.weight.detach().clone(), *random_weights(network, steps)]
    for step, weight in enumerate(seen[1:], first_step):
        with torch.no_grad():
            network.weight.copy_(weight)
        ema.update(step)
    return ema, network, seen


def test_after_warm_up_equals_torch_averaged_model() -> None:
    """From the step at which (1 + step) / (10 + step) exceeds the decay."""
    ema, _, seen = averaged(decay=0.9, first_step=80)
    reference_network = nn.Linear(3, 4)
    with torch.no_grad():
        reference_network.weight.copy_(seen[0])
    reference = AveragedModel(reference_network, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    reference.update_parameters(reference_network)  # torch's first update copies
    for weight in seen[1:]:
        with torch.no_grad():
            reference_network.weight.copy_(weight)
        reference.update_parameters(reference_network)
    torch.testing.assert_close(ema.average.weight, reference.module.weight, atol=1e-6, rtol=1e-6)


def test_warm_up_equals_closed_form_and_initial_weights_fade() -> None:
    """The share of each weight is (1 - d) times the product of all later d; d grows from 2/11."""
    ema, _, seen = averaged(decay=0.999, first_step=1)
    decays = [(1 + step) / (10 + step) for step in range(1, 21)]
    expected, left = torch.zeros_like(seen[0], dtype=torch.float64), 1.0
    for weight, decay in zip(reversed(seen[1:]), reversed(decays), strict=True):
        expected += left * (1 - decay) * weight
        left *= decay
    expected += left * seen[0]
    assert left < 1e-3
    torch.testing.assert_close(ema.average.weight.double(), expected, atol=1e-5, rtol=1e-5)


def test_decay_of_0_equals_the_network() -> None:
    ema, network, _ = averaged(decay=0.0, first_step=1)
    torch.testing.assert_close(ema.average.weight, network.weight)


def test_average_starts_equal_and_requires_no_gradient() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5))
    ema = EMA(network, nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5)), 0.9)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, ema.average.state_dict()[name])
    assert not any(parameter.requires_grad for parameter in ema.average.parameters())
    assert not ema.average.training


def test_average_and_network_may_differ_in_memory_format() -> None:
    """In the trainer the network is channels-last and the average is not."""
    network = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    ema = EMA(network, nn.Conv2d(3, 4, 3), 0.0)
    with torch.no_grad():
        network.weight.copy_(torch.arange(108.0).view(4, 3, 3, 3))
    ema.update(1)
    torch.testing.assert_close(ema.average.weight, network.weight, check_stride=False)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 2.0])
def test_decay_out_of_range_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="ema_decay"):
        EMA(nn.Linear(1, 1), nn.Linear(1, 1), decay)
