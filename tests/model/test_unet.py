"""The U-Net against diffusers' `UNet2DModel`: names, outputs and gradients."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel
from torch import Tensor

from model.networks.unet import UNet, UNetConfig

DOWN, ATTN_DOWN = "DownBlock2D", "AttnDownBlock2D"
UP, ATTN_UP = "UpBlock2D", "AttnUpBlock2D"

# google/ddpm-cifar10-32 as its config.json says, which is the network of Ho et al. 2020.
DDPM_CIFAR10: dict[str, Any] = {
    "sample_size": 32,
    "block_out_channels": (128, 256, 256, 256),
    "down_block_types": (DOWN, ATTN_DOWN, DOWN, DOWN),
    "up_block_types": (UP, UP, ATTN_UP, UP),
    "layers_per_block": 2,
    "attention_head_dim": None,
    "norm_eps": 1e-6,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "the recipes' layout": {
        "sample_size": 8,
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (32, 64),
        "down_block_types": (DOWN, ATTN_DOWN),
        "up_block_types": (ATTN_UP, UP),
        "num_class_embeds": 11,
    },
    "one level": {
        "sample_size": 5,
        "block_out_channels": (8,),
        "down_block_types": (DOWN,),
        "up_block_types": (UP,),
        "norm_num_groups": 4,
        "attention_head_dim": 4,
    },
    "ddpm-cifar10's layout, narrow": {
        **DDPM_CIFAR10,
        "sample_size": 16,
        "block_out_channels": (16, 32, 32, 32),
        "norm_num_groups": 8,
    },
    "attention everywhere": {
        "sample_size": 8,
        "in_channels": 2,
        "out_channels": 4,
        "block_out_channels": (12, 24),
        "down_block_types": (ATTN_DOWN, ATTN_DOWN),
        "up_block_types": (ATTN_UP, ATTN_UP),
        "layers_per_block": 3,
        "norm_num_groups": 6,
        "attention_head_dim": 3,
        "num_class_embeds": 2,
        "downsample_padding": 0,
    },
    "widths that fall and rise": {
        "sample_size": 12,
        "block_out_channels": (16, 8, 24),
        "down_block_types": (DOWN, ATTN_DOWN, DOWN),
        "up_block_types": (UP, ATTN_UP, UP),
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "norm_eps": 1e-3,
        "freq_shift": 1,
    },
}


def both(fields: dict[str, Any], seed: int = 0) -> tuple[UNet, UNet2DModel]:
    """Our network and theirs, of one shape and with the same weights, none of which is zero or one."""
    config = UNetConfig(**fields)
    ours, theirs = UNet(config), UNet2DModel(**dataclasses.asdict(config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)
    ours.load_state_dict(theirs.state_dict())  # strict: every name and every shape
    return ours, theirs


def inputs(config: UNetConfig, batch: int) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(1)
    x_t = torch.randn(batch, config.in_channels, config.sample_size, config.sample_size, generator=generator)
    t = torch.randint(1000, (batch,), generator=generator)
    if config.num_class_embeds is None:
        return x_t, t, None
    return x_t, t, torch.randint(config.num_class_embeds, (batch,), generator=generator)


@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_outputs_and_gradients_are_diffusers(fields: dict[str, Any]) -> None:
    """In float64, so that rounding hides no difference in the mathematics."""
    ours, theirs = both(fields)
    ours.double().train()
    theirs.double().train()
    x_t, t, labels = inputs(ours.config, batch=3)
    t %= 10  # the sinusoid is float32 in both; its rounding error grows with t
    x_ours, x_theirs = (x_t.double().requires_grad_() for _ in range(2))
    output = ours(x_ours, t, labels)
    expected = theirs(x_theirs, t, class_labels=labels).sample
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (output * weights).mean().backward()
    (expected * weights).mean().backward()
    torch.testing.assert_close(x_ours.grad, x_theirs.grad, atol=1e-6, rtol=1e-6)
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_every_timestep_is_diffusers(fields: dict[str, Any]) -> None:
    ours, theirs = both(fields)
    x_t, _, labels = inputs(ours.config, batch=1)
    t = torch.arange(0, 1000, 37)
    x_t, labels = x_t.expand(len(t), -1, -1, -1), None if labels is None else labels.expand(len(t))
    with torch.no_grad():
        expected = theirs(x_t, t, class_labels=labels).sample
        torch.testing.assert_close(ours(x_t, t, labels), expected, atol=1e-4, rtol=1e-4)


def test_ddpm_cifar10_itself() -> None:
    """35.7 million parameters (Ho et al. 2020, appendix B), in float32."""
    ours, theirs = both(DDPM_CIFAR10)
    assert round(sum(parameter.numel() for parameter in ours.parameters()) / 1e6, 1) == 35.7
    x_t, t, _ = inputs(ours.config, batch=1)
    with torch.no_grad():
        torch.testing.assert_close(ours(x_t, t), theirs(x_t, t).sample, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_channels_last_and_bfloat16_agree_with_float64(fields: dict[str, Any]) -> None:
    """As a worker runs it: channels last changes nothing, bfloat16 only by its rounding."""
    ours, _ = both(fields)
    x_t, t, labels = inputs(ours.config, batch=2)
    with torch.no_grad():
        expected = ours.double()(x_t, t, labels)
        channels_last = ours.to(memory_format=torch.channels_last)(x_t, t, labels)
        torch.testing.assert_close(channels_last, expected, atol=1e-9, rtol=1e-9)
        output = ours.to(torch.bfloat16)(x_t, t, labels)
    assert output.dtype == torch.bfloat16
    assert (output.double() - expected).std() < 0.05 * expected.std()


@pytest.mark.parametrize("fields", CONFIGS.values(), ids=CONFIGS)
def test_group_norm_written_for_the_compiler_agrees_with_torch(fields: dict[str, Any]) -> None:
    ours, _ = both(fields)
    ours.train()
    x_t, t, labels = inputs(ours.config, batch=2)
    torch._dynamo.reset()
    traced, found = torch.compile(ours, backend="eager"), []
    for network in (ours, traced):
        output = network(x_t, t, labels)
        ours.zero_grad()
        output.square().mean().backward()
        found.append([output, *(parameter.grad for parameter in ours.parameters())])
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, atol=1e-4, rtol=1e-4)


def test_dropout_is_active_in_training_only() -> None:
    ours, _ = both({**CONFIGS["one level"], "dropout": 0.5})
    x_t, t, labels = inputs(ours.config, batch=2)
    ours.eval()
    assert torch.equal(ours(x_t, t, labels), ours(x_t, t, labels))
    ours.train()
    assert not torch.equal(ours(x_t, t, labels), ours(x_t, t, labels))


def test_labels_without_classes_and_classes_without_labels_are_refused() -> None:
    with_classes, without = (
        UNet(UNetConfig(**CONFIGS["the recipes' layout"])),
        UNet(UNetConfig(**CONFIGS["one level"])),
    )
    x_t, t, _ = inputs(with_classes.config, batch=2)
    with pytest.raises(ValueError, match="num_class_embeds"):
        with_classes(x_t, t)
    x_t, t, _ = inputs(without.config, batch=2)
    with pytest.raises(ValueError, match="num_class_embeds"):
        without(x_t, t, torch.zeros_like(t))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"block_out_channels": (32,)}, "the same levels"),
        ({"up_block_types": (UP,)}, "the same levels"),
        ({"block_out_channels": (), "down_block_types": (), "up_block_types": ()}, "the same levels"),
        ({"down_block_types": (DOWN, "CrossAttnDownBlock2D")}, "'CrossAttnDownBlock2D'"),
        ({"up_block_types": ("SkipUpBlock2D", UP)}, "'SkipUpBlock2D'"),
        ({"block_out_channels": (32, 48)}, "norm_num_groups=32"),
        ({"attention_head_dim": 5}, "attention_head_dim=5"),
        ({"sample_size": 7}, "sample_size 7"),
    ],
)
def test_bad_config_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        UNetConfig(**{**CONFIGS["the recipes' layout"], **change})
