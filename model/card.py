"""A checkpoint's card: its data, training, metrics, and recommended sampling settings."""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from model.files import write_json
from model.sampling.samplers import SAMPLERS, Thresholding

CARD = "card.json"
MAX_GUIDANCE = 100  # also the limit of a request
MAX_DEPTH = 16  # maximum nesting of objects and lists; the lowest limits of JSON parsers are about 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Metadata of a checkpoint. `guidance_scale` to `thresholding` are the defaults of a request."""

    digest: str = ""  # sha256 of the weights, the network's config and the schedule
    created_at: str = ""  # ISO 8601, UTC
    classes: tuple[str, ...] = ()
    guidance_scale: float = 1.0
    sampler: str = "ddpm"
    steps: int | None = None  # None: the schedule's num_train_timesteps
    thresholding: Thresholding = "static"
    data: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


def read_card(path: Path) -> Card:
    """The card of the checkpoint in the folder `path`. Raises OSError, or ValueError with the field that is wrong."""
    try:
        values = json.loads((path / CARD).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{CARD} is not JSON: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{CARD} must hold a JSON object, not {reprlib.repr(values)}")
    for name, value in values.items():
        if name not in RULES:
            raise ValueError(f"{CARD} has an unknown field {reprlib.repr(name)}; known fields: {', '.join(RULES)}")
        allowed, is_allowed = RULES[name]
        if not is_allowed(value):
            raise ValueError(f"{CARD}: {name} must be {allowed}, not {reprlib.repr(value)}")
    return Card(**{**values, "classes": tuple(values.get("classes", ()))})


def write_card(path: Path, card: Card) -> None:
    """Replaces the card of a checkpoint."""
    write_json(path / CARD, dataclasses.asdict(card))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)  # UTF-8 has no surrogates


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_classes(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(name) and name for name in value) and len(set(value)) == len(value)


def _is_plain(value: Any, depth: int = MAX_DEPTH) -> bool:
    """Whether every JSON parser accepts it: no NaN, no infinity, no surrogates, at most `depth` levels."""
    if isinstance(value, dict | list):
        items = [*value, *value.values()] if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(item, depth - 1) for item in items)
    return _is_text(value) if isinstance(value, str) else not isinstance(value, float) or math.isfinite(value)


def _one_of(*names: str) -> tuple[str, Callable[[Any], bool]]:
    return f"one of {', '.join(names)}", lambda value: value in names


TEXT = "text", _is_text
REPORT = (
    f"a JSON object of finite numbers and text, at most {MAX_DEPTH} levels deep",
    lambda value: isinstance(value, dict) and _is_plain(value),
)
RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {  # field: (description of the allowed values, check of a value)
    "digest": TEXT,
    "created_at": TEXT,
    "classes": ("a list of distinct names", _are_classes),
    "guidance_scale": (
        f"a number from 0 to {MAX_GUIDANCE}",
        lambda value: _is_number(value) and 0 <= value <= MAX_GUIDANCE,
    ),
    "sampler": _one_of(*SAMPLERS),
    "steps": ("null or an integer of at least 1", lambda value: value is None or (type(value) is int and value >= 1)),
    "thresholding": _one_of(*get_args(Thresholding)),
    "data": REPORT,
    "training": REPORT,
    "metrics": REPORT,
}
