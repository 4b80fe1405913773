"""Imports pixel-space `UNet2DModel`s saved by diffusers, in a pipeline's nested folders or in a flat folder."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model import checkpoint
from model.checkpoint import SCHEDULER_FIXED, UNET_FIXED, Card, Checkpoint, CheckpointError, read_config
from model.networks.unet import UNet, UNetConfig
from model.sampling.schedule import Schedule

# Defaults of diffusers that differ from ours. Its older configs omit fields at their default.
UNET_DEFAULTS = {
    "block_out_channels": (224, 448, 672, 896),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
}
SAMPLERS = {  # by the scheduler's class and variance_type
    ("DDPMScheduler", "fixed_small"): "ddpm",
    ("DDPMScheduler", "fixed_large"): "ddpm_beta",
    ("DDIMScheduler", None): "ddim",
}
OLDER_NAMES = {  # of attention layers before 2023 -> today's
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}


def import_checkpoint(source: Path, target: Path) -> Card:
    """Imports the folder `source`, saved by diffusers, as a checkpoint at `target`.

    Raises CheckpointError with the feature that is not supported.
    """
    try:
        unet_folder, scheduler_config = _parts(source)
        unet_config = read_config(UNetConfig, unet_folder / "config.json", UNET_FIXED, UNET_DEFAULTS)
        schedule = read_config(Schedule, scheduler_config, SCHEDULER_FIXED)
        unet = UNet(unet_config)
        unet.load_state_dict(_weights(unet_folder))
        card = Card(
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            classes=_classes(unet_config.num_class_embeds),
            data={"source": f"imported from {source.name}"},
        )
        card = replace(card, **_sampling(json.loads(scheduler_config.read_text())))
        Checkpoint(unet, schedule, card)  # raises ValueError if they contradict each other
        return checkpoint.save(target, unet, schedule, card)
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{source} cannot be imported: {error}") from error


def _parts(source: Path) -> tuple[Path, Path]:
    """The folder of the network, and the scheduler's config."""
    for part in ("vae", "vqvae", "text_encoder"):
        if (source / part).exists():
            raise ValueError(f"it has a {part}: models of latents or of text are not supported")
    for folder in (source / "unet", source):
        if (folder / "config.json").exists():
            kind = json.loads((folder / "config.json").read_text()).get("_class_name", "UNet2DModel")
            if kind != "UNet2DModel":
                raise ValueError(f"its network is {kind}; supported is UNet2DModel")
            break
    else:
        raise ValueError("it has neither config.json nor unet/config.json: name a folder that diffusers has saved")
    for scheduler in (source / "scheduler" / "scheduler_config.json", source / "scheduler_config.json"):
        if scheduler.exists():
            return folder, scheduler
    raise ValueError("it has no scheduler_config.json, which holds the noise schedule")


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    path = folder / "diffusion_pytorch_model.safetensors"
    if not path.exists():
        raise ValueError(
            f"{path.name} is missing: only safetensors are read, since a .bin file may run code; "
            "load it in diffusers and call save_pretrained(…, safe_serialization=True)"
        )
    return {_current_name(name): _linear(name, tensor) for name, tensor in load_file(path).items()}


def _current_name(name: str) -> str:
    if ".attentions." not in name:
        return name
    *parents, layer, kind = name.split(".")
    return ".".join([*parents, OLDER_NAMES.get(layer, layer), kind])


def _linear(name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Weights of linear layers. The oldest attention layers were 1×1 convolutions."""
    if ".attentions." in name and tensor.dim() == 4:
        return tensor[:, :, 0, 0]
    return tensor


def _classes(num_class_embeds: int | None) -> tuple[str, ...]:
    """Numbers as names, since diffusers stores none. No embedding is known to be a null class."""
    return tuple(str(number) for number in range(num_class_embeds or 0))


def _sampling(config: dict[str, Any]) -> dict[str, Any]:
    """The card's sampler and thresholding that are equivalent to the scheduler."""
    kind = config.get("_class_name", "DDPMScheduler")
    variance = config.get("variance_type", "fixed_small") if kind == "DDPMScheduler" else None
    if (kind, variance) not in SAMPLERS:
        known = ", ".join(f"{name} {variance or ''}".strip() for name, variance in SAMPLERS)
        raise ValueError(f"its scheduler is {kind} {variance or ''}; supported are {known}")
    if not config.get("set_alpha_to_one", True):
        raise ValueError("set_alpha_to_one=False is not supported, only True")
    return {
        "sampler": SAMPLERS[kind, variance],
        "thresholding": "static" if config.get("clip_sample", True) else "none",
    }
