"""Checkpoints: the diffusers folder layout, safetensors, and a card. No pickle.

NAME/
  card.json                                    data, training, metrics, recommended settings
  model_index.json                             for diffusers' pipelines
  scheduler/scheduler_config.json
  unet/config.json
  unet/diffusion_pytorch_model.safetensors
  figures/                                     PNGs and GIFs that the page shows
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from model.card import CARD as CARD
from model.card import Card as Card
from model.card import read_card as read_card
from model.card import write_card as write_card
from model.files import replace_folder, write_json
from model.files import write_atomically as write_atomically
from model.networks.unet import UNet, UNetConfig
from model.sampling.schedule import Schedule

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
UNET_CONFIG = "unet/config.json"
SCHEDULER_CONFIG = "scheduler/scheduler_config.json"
FIGURES = "figures"

Config = TypeVar("Config", UNetConfig, Schedule)

# Options of `UNet2DModel` and `DDPMScheduler` that are supported with these values only.
UNET_FIXED = {
    "act_fn": "silu",
    "add_attention": True,
    "attn_norm_num_groups": None,
    "center_input_sample": False,
    "class_embed_type": None,
    "downsample_type": "conv",
    "mid_block_scale_factor": 1,
    "mid_block_type": "UNetMidBlock2D",
    "resnet_time_scale_shift": "default",
    "time_embedding_dim": None,
    "time_embedding_type": "positional",
    "upsample_type": "conv",
}
SCHEDULER_FIXED = {"clip_sample_range": 1.0, "thresholding": False}


class CheckpointError(Exception):
    """The checkpoint cannot be served; the message names it and gives the reason."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A network, its schedule and its card. Raises ValueError if they contradict each other."""

    unet: UNet
    schedule: Schedule
    card: Card

    def __post_init__(self) -> None:
        card, config, timesteps = self.card, self.unet.config, self.schedule.num_train_timesteps
        embeds = config.num_class_embeds or 0
        if config.out_channels != config.in_channels:
            raise ValueError(f"out_channels must equal in_channels, {config.in_channels}, not {config.out_channels}")
        if embeds and not card.classes:
            raise ValueError(f"its network has {embeds} class embeddings, but classes is empty: name them in {CARD}")
        if len(card.classes) > embeds:
            count = len(card.classes)
            raise ValueError(f"{CARD}: classes names {count} classes, but its network has {embeds} class embeddings")
        if card.guidance_scale != 1 and self.null_class is None:
            scale = card.guidance_scale
            raise ValueError(f"{CARD}: guidance_scale must be 1, since its network has no null class, not {scale}")
        if card.steps is not None and card.steps > timesteps:
            raise ValueError(f"{CARD}: steps must be null or 1 to {timesteps}, not {card.steps}")

    @property
    def null_class(self) -> int | None:
        """The label that means no class (Ho & Salimans 2022): the last embedding, unless it belongs to a class."""
        embeds = self.unet.config.num_class_embeds
        return embeds - 1 if embeds is not None and embeds > len(self.card.classes) else None


def save(path: Path, unet: UNet, schedule: Schedule, card: Card) -> Card:
    """Writes a checkpoint atomically: a reader sees the old one or the new one. Returns the card with its digest."""
    new = path.with_name(f".{path.name}.new-{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    (new / "unet").mkdir(parents=True)
    (new / "scheduler").mkdir()
    weights = {name: tensor.detach().float().cpu().contiguous() for name, tensor in unet.state_dict().items()}
    write_atomically(new / WEIGHTS, to_bytes(weights, metadata={"format": "pt"}))
    unet_config = {"_class_name": "UNet2DModel", **UNET_FIXED, **dataclasses.asdict(unet.config)}
    scheduler = {
        "_class_name": "DDPMScheduler",
        "variance_type": "fixed_large" if card.sampler == "ddpm_beta" else "fixed_small",
        "timestep_spacing": "trailing",
        "clip_sample": card.thresholding == "static",
    }
    index = {"_class_name": "DDPMPipeline", "unet": ["diffusers", "UNet2DModel"]}
    card = dataclasses.replace(card, digest=_digest(new, unet.config, schedule))
    write_json(new / UNET_CONFIG, unet_config)
    write_json(new / SCHEDULER_CONFIG, {**scheduler, **SCHEDULER_FIXED, **dataclasses.asdict(schedule)})
    write_json(new / "model_index.json", {**index, "scheduler": ["diffusers", "DDPMScheduler"]})
    write_card(new, card)
    replace_folder(new, path)
    return card


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint, with weights in float32. Raises CheckpointError if it is corrupt or not supported."""
    before = _identity(path)
    try:
        return _read(path)
    except Exception as error:  # the files may have any content, so reading them may raise any error
        if _identity(path) != before:  # the folder was replaced while its files were being read
            return load(path)
        reason = str(error) or type(error).__name__
        raise CheckpointError(f"checkpoint {path.name} cannot be served: {reason}") from error


def folders(models: Path) -> list[Path]:
    """The checkpoints in a folder by name, complete or not. Hidden folders are still being written."""
    if not models.is_dir():
        return []
    return sorted(path for path in models.iterdir() if path.is_dir() and not path.name.startswith("."))


def copy(folder: Path, target: Path) -> None:
    """Copies a checkpoint to `target` atomically."""
    new = target.with_name(f".{target.name}.new-{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(folder, new)
    replace_folder(new, target)


def read_config(
    kind: type[Config], path: Path, fixed: dict[str, Any], defaults: dict[str, Any] | None = None
) -> Config:
    """A config of diffusers. Raises OSError, ValueError or TypeError, e.g. if a `fixed` field has another value."""
    values = {**(defaults or {}), **json.loads(path.read_text(encoding="utf-8"))}
    for name, only in fixed.items():
        if values.get(name, only) != only:
            raise ValueError(f"{name}={values[name]!r} in {path.name} is not supported, only {only!r}")
    known = {f.name for f in dataclasses.fields(kind)}
    lists: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**{name: value for name, value in lists.items() if name in known})


def _read(path: Path) -> Checkpoint:
    card = read_card(path)
    unet_config = read_config(UNetConfig, path / UNET_CONFIG, UNET_FIXED)
    schedule = read_config(Schedule, path / SCHEDULER_CONFIG, SCHEDULER_FIXED)
    unet = UNet(unet_config)
    unet.load_state_dict(load_file(path / WEIGHTS))
    if _digest(path, unet_config, schedule) != card.digest:
        raise ValueError("its weights or configs do not match the digest in its card: copy it again, all of it")
    return Checkpoint(unet.eval().requires_grad_(False), schedule, card)


def _identity(path: Path) -> tuple[int, int] | None:
    """Distinguishes the folder at `path` from one that replaces it."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _digest(path: Path, unet_config: UNetConfig, schedule: Schedule) -> str:
    """sha256 of everything that an image depends on: the file of weights, the network and the schedule.

    Fields at their default are omitted, so that a field added later changes no digest.
    """
    shape = json.dumps([_non_defaults(unet_config), _non_defaults(schedule)], sort_keys=True)
    return hashlib.sha256((path / WEIGHTS).read_bytes() + shape.encode()).hexdigest()


def _non_defaults(config: UNetConfig | Schedule) -> dict[str, Any]:
    fields = dataclasses.fields(config)
    return {f.name: value for f in fields if (value := getattr(config, f.name)) != f.default}
