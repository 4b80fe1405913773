"""Resolves a request into a spec: fills in defaults and checks every field against the model's card."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from jobs.schema import CYCLE, MAX_INDEX, RANDOM_SEED_BITS, TAKES_ETA, GenerateRequest, JobSpec, Label, ModelCard

DEFAULT_STRENGTH = 0.6


class FieldError(Exception):
    """A field that the model does not allow. `allowed` says what it does allow."""

    def __init__(self, field: str, given: object, allowed: str) -> None:
        super().__init__(f"{field} {given!r} is not allowed: {allowed}")
        self.field, self.allowed = field, allowed


def choose(name: str | None, cards: Sequence[ModelCard]) -> ModelCard:
    """The card of this name, or the first. Raises FieldError for an unknown name."""
    for card in cards:
        if name is None or card.name == name:
            return card
    raise FieldError("model", name, f"one of {', '.join(card.name for card in cards)}")


def resolve(request: GenerateRequest, card: ModelCard) -> JobSpec:
    """Raises FieldError for a field that the model does not allow."""
    if request.count > card.max_count:
        raise FieldError("count", request.count, f"1 to {card.max_count}")
    if request.first_index + request.count - 1 > MAX_INDEX:
        raise FieldError("first_index", request.first_index, f"first_index + count - 1 at most {MAX_INDEX}")
    start = _start(request, card)
    steps = request.steps if request.steps is not None else min(card.steps, start)
    if steps > start:
        raise FieldError("steps", steps, f"1 to {start}")
    sampler = request.sampler if request.sampler is not None else card.sampler
    if sampler not in card.samplers:
        raise FieldError("sampler", sampler, f"one of {', '.join(card.samplers)}")
    if request.eta is not None and sampler != TAKES_ETA:
        raise FieldError("eta", request.eta, f"nothing, since {sampler} takes none; {TAKES_ETA} does")
    guidance = request.guidance_scale if request.guidance_scale is not None else card.guidance_scale
    if card.null_class is None and guidance != 1:
        raise FieldError("guidance_scale", guidance, "1, since this model has no null class")
    return JobSpec(
        model=card.name,
        digest=card.digest,
        count=request.count,
        first_index=request.first_index,
        seed=request.seed if request.seed is not None else secrets.randbits(RANDOM_SEED_BITS),
        steps=steps,
        sampler=sampler,
        spacing=request.spacing,
        eta=None if sampler != TAKES_ETA else float(request.eta or 0),
        thresholding=request.thresholding or card.thresholding,
        start=start,
        image=request.image,
        labels=_labels(request, card),
        null_class=card.null_class,
        guidance_scale=float(guidance),
        frames=min(request.frames, steps),
        priority=request.priority,
    )


def _start(request: GenerateRequest, card: ModelCard) -> int:
    """Number of the schedule's timesteps to undo."""
    if request.image is None:
        if request.strength is not None:
            raise FieldError("strength", request.strength, "nothing without an image to start from")
        return card.num_train_timesteps
    strength = DEFAULT_STRENGTH if request.strength is None else request.strength
    return max(1, round(strength * card.num_train_timesteps))


def _labels(request: GenerateRequest, card: ModelCard) -> list[int] | None:
    """One label for each image. No label means the null class."""
    if request.label is not None and request.labels is not None:
        raise FieldError("labels", request.labels, "either label or labels, not both")
    if not card.classes:
        if request.label is not None or request.labels is not None:
            field = "label" if request.label is not None else "labels"
            raise FieldError(field, getattr(request, field), "nothing, since this model has no classes")
        return None
    if request.labels is not None:
        if len(request.labels) != request.count:
            raise FieldError("labels", request.labels, f"as many as count, {request.count}")
        return [_label("labels", label, card) for label in request.labels]
    if request.label == CYCLE:
        return [(request.first_index + position) % len(card.classes) for position in range(request.count)]
    if request.label is not None:
        return [_label("label", request.label, card)] * request.count
    if card.null_class is None:
        raise FieldError("label", None, f"one of {', '.join(card.classes)}, since this model has no null class")
    return [card.null_class] * request.count


def _label(field: str, label: Label, card: ModelCard) -> int:
    if isinstance(label, str) and label in card.classes:
        return card.classes.index(label)
    if isinstance(label, int) and (0 <= label < len(card.classes) or label == card.null_class):
        return label
    null = "" if card.null_class is None else f"; {card.null_class} is the null class"
    raise FieldError(field, label, f"0 to {len(card.classes) - 1} or one of {', '.join(card.classes)}{null}")
