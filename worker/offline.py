"""Sampling, evaluation and figures without a service. The engine is the worker's, so the images have the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from jobs.resolve import resolve
from jobs.schema import CYCLE, GenerateRequest, JobSpec
from model.cores import Cores
from model.data import Dataset
from model.evaluation.likelihood import bits_per_dimension
from model.evaluation.reference import Reference
from model.images import from_uint8, to_uint8
from model.sampling import samplers
from worker.catalog import Model, load_model
from worker.sampling.engine import Engine, Task

SLOTS = 1024
MAX_COUNT = 1_000_000
FIGURE_IMAGES = 100
FEW_IMAGES = 8  # number of images in figures that show each of them many times


def load(path: Path, device: torch.device, slots: int = SLOTS) -> Model:
    """The checkpoint in the folder `path`, at most `slots` images in a batch. Raises CheckpointError."""
    return load_model(path, device, slots=slots, max_count=MAX_COUNT)


def sample(model: Model, spec: JobSpec, advance: Callable[[int], None] = lambda images: None) -> Tensor:
    """A spec's images, uint8 (N, C, H, W).

    advance  called with the number of images that each step moved
    """
    engine = Engine(model.network, model.shape)
    engine.add(Task.of("offline", spec, model.checkpoint.schedule, model.card.channels))
    pixels = torch.empty(spec.count, *model.shape, dtype=torch.uint8)
    with closing(Cores()) as cores:
        while not engine.idle:
            for step in engine.step():
                advance(len(step.x0))
                if step.last:
                    pixels[step.first : step.first + len(step.x0)] = to_uint8(step.x0).cpu()
            if model.network.device.type == "cpu":
                cores.adapt()
    return pixels


def evaluation_specs(model: Model, asked: GenerateRequest) -> dict[str, JobSpec]:
    """The specs of an evaluation: `unconditional`, and `conditional` for a model with classes.

    Raises FieldError for a field that the model does not allow.
    """
    card, specs = model.card, {}
    if not card.classes or card.null_class is not None:
        specs["unconditional"] = resolve(asked.model_copy(update={"guidance_scale": None}), card)
    if card.classes:
        specs["conditional"] = resolve(asked.model_copy(update={"label": CYCLE}), card)
    return specs


def evaluate(
    model: Model, reference: Reference, specs: dict[str, JobSpec], sample: Callable[[JobSpec], Tensor]
) -> dict[str, Any]:
    """A card's metrics as plain JSON: those of each kind of samples, the classifier's accuracy, bits per dimension."""
    test, found = reference.test, dict[str, Any]()
    if reference.accuracy is not None:
        found["classifier"] = {"accuracy": round(reference.accuracy, 4), "test_images": len(test)}
    for kind, spec in specs.items():
        found |= {"seed": spec.seed, "sampler": spec.sampler, "steps": spec.steps}
        labels = torch.tensor(spec.labels) if kind == "conditional" else None
        found[kind] = reference.compare(from_uint8(sample(spec)), labels)
        if labels is not None:
            found[kind]["guidance_scale"] = spec.guidance_scale
    labels = test.labels if model.card.classes else None
    if len(test) and (labels is not None or not model.card.classes):

        def predict(x_t: Tensor, t: Tensor, chosen: Tensor) -> Tensor:
            return model.network.predict(x_t, t, None if labels is None else labels[chosen])

        bits, error = bits_per_dimension(predict, model.checkpoint.schedule, test.images)
        found["bits_per_dimension"] = {"bound": round(bits, 4), "standard_error": round(error, 4)}
    return found


def draw(
    model: Model, real: Dataset, steps: int | None = None, advance: Callable[[int], None] = lambda images: None
) -> dict[str, bytes]:
    """A model's figures by file name, from 100 generated and 100 real images, whose classes cycle.

    steps    number of steps of the reverse process; the card's by default
    advance  called with the number of images that each step moved
    """
    from model.evaluation import figures  # needs matplotlib, which a worker does not install

    card, network, schedule = model.card, model.network, model.checkpoint.schedule
    x0 = from_uint8(real.images[_cycle_classes(real, FIGURE_IMAGES)])
    indices = torch.arange(FIGURE_IMAGES, device=network.device)
    labels = indices % len(card.classes) if card.classes else None
    guidance = torch.full((FIGURE_IMAGES,), card.guidance_scale)
    table = samplers.table(card.sampler, schedule, steps or card.steps, thresholding=card.thresholding)
    rows = samplers.trajectory(
        lambda x, t, labels: network(x, t, labels, guidance), table, model.shape, seed=0, indices=indices, labels=labels
    )

    def with_progress() -> Iterator[tuple[Tensor, Tensor]]:
        for x, denoised in rows:
            advance(FIGURE_IMAGES)
            yield x.cpu(), denoised.cpu()

    run = figures.Trajectory(with_progress(), table.timesteps, figures.GIF_FRAMES)
    few = None if labels is None else labels[:FEW_IMAGES]
    return {
        "schedule.png": figures.noise_schedule(schedule),
        "forward.png": figures.forward_process(x0[0], schedule),
        "one-step.png": figures.one_step(network.predict, x0[:FEW_IMAGES], few, schedule),
        "reverse.png": figures.reverse_process(run),
        "intensity.png": figures.intensity(run),
        "histograms.png": figures.pixel_histograms(x0, run.x0[-1]),
        "real-and-generated.png": figures.real_beside_generated(x0, run.x0[-1]),
        "process.gif": figures.animation(run),
    }


def _cycle_classes(real: Dataset, count: int) -> Tensor:
    """Indices (count,) of images whose classes cycle; a class with too few images repeats them."""
    if real.labels is None:
        return torch.arange(count) % len(real)
    members = [(real.labels == label).nonzero()[:, 0] for label in real.labels.unique()]
    rounds = range(-(-count // len(members)))
    return torch.stack([of[i % len(of)] for i in rounds for of in members])[:count]
