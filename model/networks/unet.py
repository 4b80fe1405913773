"""The U-Net. Submodule names and behaviour are those of diffusers' `UNet2DModel`, so weights interchange.

It is the network of Ho et al. 2020, appendix B: residual blocks with group norm and SiLU, self-attention
at chosen levels, and the timestep's sinusoidal embedding added in every residual block.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

DOWN_BLOCKS = {"DownBlock2D": False, "AttnDownBlock2D": True}  # name: with attention
UP_BLOCKS = {"UpBlock2D": False, "AttnUpBlock2D": True}
# Up to this many pixels, the backward pass of attention as plain products is faster on a CPU than torch's fused kernel:
# in torch 2.15, 12 ms against 72 (49 pixels, 16 heads of 8, batch 64), which is 45 % of a training step.
FEW_PIXELS = 128
FEW_CHANNELS = range(2, 8)  # channels per group for which torch's compiled group norm is slow
NARROW = 16  # with fewer channels per head the fused kernel is slower in bfloat16 than in float32, by half at 8


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """The shape of a U-Net, with the fields of `UNet2DModel`'s config.json. Raises ValueError for invalid shapes."""

    sample_size: int
    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (32, 64, 128)
    down_block_types: tuple[str, ...] = ("DownBlock2D", "DownBlock2D", "AttnDownBlock2D")
    up_block_types: tuple[str, ...] = ("AttnUpBlock2D", "UpBlock2D", "UpBlock2D")
    layers_per_block: int = 1
    attention_head_dim: int | None = 8  # None: one head
    norm_num_groups: int = 32
    norm_eps: float = 1e-5
    dropout: float = 0.0
    num_class_embeds: int | None = None
    freq_shift: int = 0
    flip_sin_to_cos: bool = True
    downsample_padding: int = 1

    def __post_init__(self) -> None:
        levels = len(self.block_out_channels)
        if not levels == len(self.down_block_types) == len(self.up_block_types) > 0:
            raise ValueError("block_out_channels, down_block_types and up_block_types must name the same levels")
        for name, known in (("down_block_types", DOWN_BLOCKS), ("up_block_types", UP_BLOCKS)):
            for block in getattr(self, name):
                if block not in known:
                    raise ValueError(f"{name} holds {block!r}; supported: {sorted(known)}")
        for channels in self.block_out_channels:
            if channels % self.norm_num_groups:
                raise ValueError(f"{channels} channels do not divide into norm_num_groups={self.norm_num_groups}")
            if self.attention_head_dim and channels % self.attention_head_dim:
                raise ValueError(f"{channels} channels do not divide by attention_head_dim={self.attention_head_dim}")
        if self.sample_size % 2 ** (levels - 1):
            raise ValueError(f"sample_size {self.sample_size} cannot be halved {levels - 1} times")


class UNet(nn.Module):
    """Predicts noise (or what the schedule says) from a noisy image, its timestep and its class."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, groups, eps = config.block_out_channels, config.norm_num_groups, config.norm_eps
        emb_dim = widths[0] * 4
        self.conv_in = nn.Conv2d(config.in_channels, widths[0], 3, padding=1)
        self.time_embedding = TimestepEmbedding(widths[0], emb_dim)
        self.class_embedding = (
            nn.Embedding(config.num_class_embeds, emb_dim) if config.num_class_embeds is not None else None
        )

        self.down_blocks = nn.ModuleList()
        skips = [widths[0]]  # channels of each skip connection
        channels = widths[0]
        for level, (name, width) in enumerate(zip(config.down_block_types, widths, strict=True)):
            last = level == len(widths) - 1
            inputs = [channels] + [width] * (config.layers_per_block - 1)
            self.down_blocks.append(Block(config, inputs, width, emb_dim, DOWN_BLOCKS[name], None if last else "down"))
            skips += [width] * (config.layers_per_block + (not last))
            channels = width

        self.mid_block = MidBlock(config, channels, emb_dim)

        self.up_blocks = nn.ModuleList()
        for level, (name, width) in enumerate(zip(config.up_block_types, reversed(widths), strict=True)):
            last = level == len(widths) - 1
            inputs = []
            for _ in range(config.layers_per_block + 1):
                inputs.append(channels + skips.pop())
                channels = width
            self.up_blocks.append(Block(config, inputs, width, emb_dim, UP_BLOCKS[name], None if last else "up"))

        self.conv_norm_out = GroupNorm(groups, widths[0], eps=eps)
        self.conv_out = nn.Conv2d(widths[0], config.out_channels, 3, padding=1)

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """The prediction (B, C, H, W) for x_t (B, C, H, W) at timesteps t (B,) and classes labels (B,).

        Raises ValueError if only one of labels and `num_class_embeds` is given.
        """
        dtype = self.conv_in.weight.dtype
        emb = self.time_embedding(self._sinusoid(t).to(dtype))
        if (labels is None) != (self.class_embedding is None):
            raise ValueError("labels are needed if and only if the network has num_class_embeds")
        if self.class_embedding is not None:
            emb = emb + self.class_embedding(labels)
        emb = F.silu(emb)

        h = self.conv_in(x_t.to(dtype))
        skips = [h]
        for block in self.down_blocks:
            for layer in range(self.config.layers_per_block):
                h = cast(Block, block).layer(layer, h, emb)
                skips.append(h)
            if cast(Block, block).downsamplers is not None:
                h = cast(Block, block).resample(h)
                skips.append(h)
        h = self.mid_block(h, emb)
        for block in self.up_blocks:
            for layer in range(self.config.layers_per_block + 1):
                h = cast(Block, block).layer(layer, torch.cat([h, skips.pop()], dim=1), emb)
            if cast(Block, block).upsamplers is not None:
                h = cast(Block, block).resample(h)
        return self.conv_out(F.silu(self.conv_norm_out(h)))

    def _sinusoid(self, t: Tensor) -> Tensor:
        """The timestep's sinusoidal embedding (B, width) in float32 (Vaswani et al. 2017, section 3.5)."""
        half = self.config.block_out_channels[0] // 2
        exponent = torch.arange(half, dtype=torch.float32, device=t.device) / (half - self.config.freq_shift)
        angles = t[:, None].float() * torch.exp(-math.log(10_000) * exponent)[None]
        sin, cos = angles.sin(), angles.cos()
        return torch.cat([cos, sin] if self.config.flip_sin_to_cos else [sin, cos], dim=1)


class TimestepEmbedding(nn.Module):
    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(in_channels, channels)
        self.linear_2 = nn.Linear(channels, channels)

    def forward(self, sinusoid: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(sinusoid)))


class GroupNorm(nn.GroupNorm):
    """torch's GroupNorm (Wu & He 2018), rewritten for compilation on a CPU: sums along channels, as they are in memory.

    Compiled from torch's own form, it loops over the two or three channels of a group one by one, which takes three
    times as long for 64 channels of 28×28. Both forms compute in float32 and agree up to its rounding.
    """

    def forward(self, x: Tensor) -> Tensor:
        few = self.num_channels // self.num_groups
        if not torch.compiler.is_compiling() or x.device.type != "cpu" or few not in FEW_CHANNELS:
            return super().forward(x)
        batch, channels, height, width = x.shape
        values = few * height * width

        def over_group(sums: Tensor) -> Tensor:
            """The mean of each group, repeated for its channels (B, C), from the sums over each channel (B, C)."""
            groups = sums.view(batch, self.num_groups, 1, few).expand(-1, -1, few, -1)
            return groups.sum(-1).view(batch, channels) / values

        pixels = x.permute(0, 2, 3, 1).reshape(batch, height * width, channels).float()
        mean = over_group(pixels.sum(1))
        variance = over_group((pixels - mean[:, None]).square().sum(1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        shift = self.bias - mean * scale
        return (x * scale[:, :, None, None] + shift[:, :, None, None]).to(x.dtype)


class ResnetBlock(nn.Module):
    """Two convolutions around the time embedding, added to the (projected) input."""

    def __init__(self, config: UNetConfig, in_channels: int, channels: int, emb_dim: int) -> None:
        super().__init__()
        self.norm1 = GroupNorm(config.norm_num_groups, in_channels, eps=config.norm_eps)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.time_emb_proj = nn.Linear(emb_dim, channels)
        self.norm2 = GroupNorm(config.norm_num_groups, channels, eps=config.norm_eps)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(in_channels, channels, 1) if in_channels != channels else None

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """x (B, C, H, W), emb (B, E) with SiLU already applied -> (B, channels, H, W)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb_proj(emb)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class Attention(nn.Module):
    """Self-attention over the pixels of a level, added to its input."""

    def __init__(self, config: UNetConfig, channels: int) -> None:
        super().__init__()
        self.heads = channels // (config.attention_head_dim or channels)
        self.group_norm = GroupNorm(config.norm_num_groups, channels, eps=config.norm_eps)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        batch, channels, height, width = x.shape
        h = self.group_norm(x).flatten(2).transpose(1, 2)  # (B, H·W, C)
        q, k, v = (
            project(h).unflatten(2, (self.heads, -1)).transpose(1, 2) for project in (self.to_q, self.to_k, self.to_v)
        )  # (B, heads, H·W, C / heads) each
        h = _attend(q, k, v).transpose(1, 2).flatten(2)
        return x + self.to_out[0](h).transpose(1, 2).reshape(batch, channels, height, width)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q, k and v, (B, heads, H·W, C / heads) each, with the fastest kernel; the same shape."""
    few = q.device.type == "cpu" and q.shape[2] <= FEW_PIXELS
    if few and q.requires_grad:
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v)
    if few and q.shape[3] < NARROW:
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float()).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v)


class Block(nn.Module):
    """One level, down or up: residual blocks, each followed by attention if `attend`, and an optional resampler."""

    def __init__(
        self,
        config: UNetConfig,
        inputs: list[int],
        channels: int,
        emb_dim: int,
        attend: bool,
        resample: str | None,
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(config, in_channels, channels, emb_dim) for in_channels in inputs)
        self.attentions = nn.ModuleList(Attention(config, channels) for _ in inputs) if attend else None
        down, up = resample == "down", resample == "up"
        self.downsamplers = nn.ModuleList([Downsample(channels, config.downsample_padding)]) if down else None
        self.upsamplers = nn.ModuleList([Upsample(channels)]) if up else None

    def layer(self, layer: int, x: Tensor, emb: Tensor) -> Tensor:
        h = self.resnets[layer](x, emb)
        return h if self.attentions is None else self.attentions[layer](h)

    def resample(self, x: Tensor) -> Tensor:
        return cast(nn.ModuleList, self.downsamplers or self.upsamplers)[0](x)


class MidBlock(nn.Module):
    def __init__(self, config: UNetConfig, channels: int, emb_dim: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResnetBlock(config, channels, channels, emb_dim) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(config, channels)])

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x, emb)), emb)


class Downsample(nn.Module):
    """Halves height and width. Padding 0 pads only on the right and at the bottom, as the paper's code does."""

    def __init__(self, channels: int, padding: int) -> None:
        super().__init__()
        self.pad = (0, 1, 0, 1) if padding == 0 else (0, 0, 0, 0)
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=padding)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, self.pad))


class Upsample(nn.Module):
    """Doubles height and width: nearest neighbour, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
