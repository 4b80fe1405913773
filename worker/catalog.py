"""The models that a worker serves: the checkpoints in one folder, which may be added, replaced and removed."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import structlog
import torch

from jobs.schema import ModelCard
from model import checkpoint
from model.checkpoint import Checkpoint, CheckpointError
from model.sampling.samplers import SAMPLERS
from worker.background import run_in_subprocess
from worker.sampling.network import Network

log = structlog.get_logger()

FIGURE_SUFFIXES = {".png", ".gif"}
MAX_FIGURE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint that is ready for sampling, and its card in the contract's terms."""

    card: ModelCard
    checkpoint: Checkpoint
    network: Network
    figures: Mapping[str, bytes]  # sha256: file, for each figure that the card names

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.card.channels, self.card.image_size, self.card.image_size


class Catalog:
    """The models in `folder` as of the last `scan`. One thread may scan while others read."""

    def __init__(
        self, folder: Path, *, device: torch.device, slots: int, max_count: int, deterministic: bool = True
    ) -> None:
        self._folder = folder
        self._load = partial(load_model, device=device, slots=slots, max_count=max_count, deterministic=deterministic)
        self._models: dict[str, Model] = {}
        self._seen: dict[str, tuple[int, ...]] = {}  # folder name: its signature when it was last read
        self._lock = threading.Lock()

    @property
    def cards(self) -> list[ModelCard]:
        with self._lock:
            return [model.card for _, model in sorted(self._models.items())]

    @property
    def figures(self) -> dict[str, bytes]:
        """The figures of all models, by their sha256."""
        with self._lock:
            return {digest: file for model in self._models.values() for digest, file in model.figures.items()}

    def get(self, name: str) -> Model | None:
        with self._lock:
            return self._models.get(name)

    def compile_in_subprocess(self, name: str) -> SpawnProcess:
        """Starts a process that compiles a model; its result stays in the compiler's cache on disk."""
        process = run_in_subprocess(_compile, self._load, self._folder / name)
        log.info("compiling", model=name)
        return process

    def scan(self) -> None:
        """Loads new and changed checkpoints, logs those that cannot be served, and drops those that were removed."""
        found = {path.name: path for path in checkpoint.folders(self._folder)}
        for name, path in sorted(found.items()):
            signature = _signature(path)
            if self._seen.get(name) != signature:
                self._seen[name] = signature
                self._read(name, path)
        with self._lock:
            for name in self._seen.keys() - found.keys():
                del self._seen[name]
                self._models.pop(name, None)

    def _read(self, name: str, path: Path) -> None:
        try:
            model = self._load(path)
        except CheckpointError as error:
            log.error("model refused", model=_printable(name), reason=_printable(str(error)))
            return
        except Exception as error:  # no checkpoint may stop the worker, which serves the others
            reason = _printable(f"{type(error).__name__}: {error}")
            log.exception("model refused", model=_printable(name), reason=reason)
            return
        before = self.get(name)
        if before is not None and before.card.digest == model.card.digest:  # only its card or figures have changed
            model = replace(model, checkpoint=before.checkpoint, network=before.network)
        with self._lock:
            self._models[name] = model
        log.info("model served", model=name, digest=model.card.digest[:12], build=model.card.build)


def load_model(path: Path, device: torch.device, *, slots: int, max_count: int, deterministic: bool = True) -> Model:
    """Loads one checkpoint for sampling at most `slots` images in a batch. Raises CheckpointError."""
    loaded = checkpoint.load(path)
    network = Network(loaded, device, slots, deterministic=deterministic)
    figures = _figures(path)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in figures.items()}
    card = _card(path.name, loaded, network, max_count, digests)
    return Model(card, loaded, network, {digests[name]: data for name, data in figures.items()})


def _compile(load: Callable[[Path], Model], path: Path) -> None:
    load(path).network.compile()


def _card(name: str, loaded: Checkpoint, network: Network, max_count: int, figures: dict[str, str]) -> ModelCard:
    """A loaded checkpoint's card in the contract's terms."""
    return ModelCard(
        name=name,
        digest=loaded.card.digest,
        created_at=loaded.card.created_at,
        image_size=loaded.unet.config.sample_size,
        channels=loaded.unet.config.in_channels,
        classes=list(loaded.card.classes),
        null_class=loaded.null_class,
        num_train_timesteps=loaded.schedule.num_train_timesteps,
        samplers=list(SAMPLERS),
        max_count=max_count,
        guidance_scale=loaded.card.guidance_scale,
        sampler=loaded.card.sampler,
        steps=loaded.card.steps or loaded.schedule.num_train_timesteps,
        thresholding=loaded.card.thresholding,
        build=network.build,
        deterministic=network.deterministic,
        data=loaded.card.data,
        training=loaded.card.training,
        metrics=loaded.card.metrics,
        figures=figures,
    )


def _figures(path: Path) -> dict[str, bytes]:
    """A checkpoint's figures by file name. Figures that cannot be read are logged and left out."""
    figures = {}
    for file in sorted((path / checkpoint.FIGURES).glob("*")):
        if file.suffix not in FIGURE_SUFFIXES:
            continue
        try:
            if file.stat().st_size > MAX_FIGURE_BYTES:
                raise OSError(f"larger than {MAX_FIGURE_BYTES} bytes")
            file.name.encode()  # the card, which names it, is published as UTF-8
            figures[file.name] = file.read_bytes()
        except (OSError, UnicodeEncodeError) as error:
            reason = _printable(str(error))
            log.warning("figure left out", model=path.name, figure=_printable(file.name), reason=reason)
    return figures


def _printable(text: str) -> str:
    """Text for the log: names in a file system need not be Unicode."""
    return text.encode(errors="replace").decode()


def _signature(path: Path) -> tuple[int, ...]:
    """Changes whenever a file of the checkpoint is changed, added or removed."""
    names = (checkpoint.CARD, checkpoint.WEIGHTS, checkpoint.UNET_CONFIG, checkpoint.SCHEDULER_CONFIG)
    files = [path / name for name in names] + sorted((path / checkpoint.FIGURES).glob("*"))
    stats = []
    for file in files:
        with suppress(OSError):
            stats.append(file.stat())
    return tuple(value for stat in stats for value in (stat.st_mtime_ns, stat.st_size, stat.st_ino))
