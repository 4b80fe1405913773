"""Checkpoints: the diffusers folder layout, safetensors, and a card. No pickle.

NAME/
  card.json                                    what it is, what it was trained on, how good it is
  model_index.json                             for diffusers' pipelines
  scheduler/scheduler_config.json
  unet/config.json
  unet/diffusion_pytorch_model.safetensors
  figures/                                     pictures of it, for people
"""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes

from model.networks.unet import UNet, UNetConfig
from model.sampling.samplers import Thresholding
from model.sampling.schedule import Schedule

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"
UNET_CONFIG = "unet/config.json"
SCHEDULER_CONFIG = "scheduler/scheduler_config.json"
CARD = "card.json"
FIGURES = "figures"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux' fcntl.h and fs.h

Config = TypeVar("Config", UNetConfig, Schedule)

# What `UNet2DModel` and `DDPMScheduler` could do and this code does not: only these values are served.
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
SCHEDULER_FIXED = {
    "clip_sample_range": 1.0,
    "thresholding": False,
    "trained_betas": None,
}


class CheckpointError(Exception):
    """The checkpoint cannot be served; the message names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a reader should know of a checkpoint."""

    digest: str = ""  # of what shapes its pictures: weights, network, schedule
    created_at: str = ""  # ISO 8601, UTC
    classes: tuple[str, ...] = ()
    guidance_scale: float = 1.0  # this and the next three are recommended
    sampler: str = "ddpm"
    steps: int | None = None  # all of the schedule's
    thresholding: Thresholding = "static"
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    unet: UNet
    schedule: Schedule
    card: Card

    @property
    def null_class(self) -> int | None:
        """The label that means no class (Ho & Salimans 2022): the last embedding, where there is one to spare."""
        embeds = self.unet.config.num_class_embeds
        return embeds - 1 if embeds is not None and embeds > len(self.card.classes) else None


def save(path: Path, unet: UNet, schedule: Schedule, card: Card) -> Card:
    """Writes a checkpoint in one move: a reader sees the old one or the new one. Returns the card with its digest."""
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
    _write_json(new / UNET_CONFIG, unet_config)
    _write_json(new / SCHEDULER_CONFIG, {**scheduler, **SCHEDULER_FIXED, **dataclasses.asdict(schedule)})
    _write_json(new / "model_index.json", {**index, "scheduler": ["diffusers", "DDPMScheduler"]})
    _write_json(new / CARD, dataclasses.asdict(card))
    replace_folder(new, path)
    return card


def load(path: Path) -> Checkpoint:
    """Reads a checkpoint, its weights in float32. Raises CheckpointError where it is corrupt or not supported."""
    before = _identity(path)
    try:
        return _read(path)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        if _identity(path) != before:  # another was put there between two of its files
            return load(path)
        raise CheckpointError(f"checkpoint {path.name} cannot be served: {error}") from error


def folders(models: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not, by name. Hidden folders are still being written."""
    if not models.is_dir():
        return []
    return sorted(path for path in models.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_card(path: Path) -> Card:
    """The card alone. Raises OSError, ValueError or TypeError."""
    values = json.loads((path / CARD).read_text())
    return Card(**{**values, "classes": tuple(values.get("classes", ()))})


def write_card(path: Path, card: Card) -> None:
    """Replaces the card of a checkpoint, as after an evaluation."""
    _write_json(path / CARD, dataclasses.asdict(card))


def write_atomically(path: Path, data: bytes) -> None:
    """Replaces a file in one move, on disk before it is seen."""
    new = path.with_name(f".{path.name}.new-{os.getpid()}")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def copy(folder: Path, target: Path) -> None:
    """Puts a copy of a checkpoint at `target`: whole, then in one move."""
    new = target.with_name(f".{target.name}.new-{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    shutil.copytree(folder, new)
    replace_folder(new, target)


def replace_folder(new: Path, path: Path) -> None:
    """Puts the folder `new` at `path`, and deletes what stood there."""
    if not path.exists():
        new.rename(path)
        return
    if not _exchange(new, path):
        # The old one steps aside first, since a folder cannot replace a full one: for a moment there is none.
        old = path.with_name(f".{path.name}.old-{os.getpid()}")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        new.rename(path)
        new = old
    shutil.rmtree(new, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Lets two paths change places in one move, and says whether the system can: Linux does (rename(2))."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return bool(renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) == 0)


def _read(path: Path) -> Checkpoint:
    card = read_card(path)
    unet_config = read_config(UNetConfig, path / UNET_CONFIG, UNET_FIXED)
    schedule = read_config(Schedule, path / SCHEDULER_CONFIG, SCHEDULER_FIXED)
    unet = UNet(unet_config)
    unet.load_state_dict(load_file(path / WEIGHTS))
    if _digest(path, unet_config, schedule) != card.digest:
        raise ValueError("its weights are not those that the card's digest names: copy it again, whole")
    return Checkpoint(unet.eval().requires_grad_(False), schedule, card)


def _identity(path: Path) -> tuple[int, int] | None:
    """Tells one folder at `path` from another that took its place."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _digest(path: Path, unet_config: UNetConfig, schedule: Schedule) -> str:
    """sha256 of everything that shapes the pictures: the weights' file, the network and the schedule.

    Fields at their default are left out, so that a field added later changes no digest.
    """
    shape = json.dumps([_unusual(unet_config), _unusual(schedule)], sort_keys=True)
    return hashlib.sha256((path / WEIGHTS).read_bytes() + shape.encode()).hexdigest()


def _unusual(config: UNetConfig | Schedule) -> dict[str, Any]:
    """The fields that are not at their default."""
    fields = dataclasses.fields(config)
    return {f.name: value for f in fields if (value := getattr(config, f.name)) != f.default}


def read_config(
    kind: type[Config], path: Path, fixed: dict[str, Any], defaults: dict[str, Any] | None = None
) -> Config:
    """A config of diffusers, whose fields are ours but for the `fixed`. Raises OSError, ValueError or TypeError."""
    values = {**(defaults or {}), **json.loads(path.read_text())}  # a TypeError where it is not an object
    for name, only in fixed.items():
        if values.get(name, only) != only:
            raise ValueError(f"{name}={values[name]!r} in {path.name} is not supported, only {only!r}")
    known = {f.name for f in dataclasses.fields(kind)}
    lists: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return kind(**{name: value for name, value in lists.items() if name in known})


def _write_json(path: Path, value: object) -> None:
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())
