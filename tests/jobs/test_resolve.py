"""Resolving requests: which defaults are filled in, and which fields are refused."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, get_args

import pytest

from jobs.resolve import FieldError, choose, resolve
from jobs.schema import MAX_INDEX, TAKES_ETA, GenerateRequest, JobSpec, ModelCard, Spacing, Thresholding
from model.sampling import samplers
from tests.jobs.factories import CARD, card

NO_CLASSES = card(classes=[], null_class=None, guidance_scale=1.0)
NO_NULL_CLASS = card(null_class=None, guidance_scale=1.0)


def resolved(card: ModelCard = CARD, **body: Any) -> JobSpec:
    return resolve(GenerateRequest(**body), card)


def test_defaults_come_from_the_card() -> None:
    spec = resolved()
    assert (spec.model, spec.digest) == ("tiny", CARD.digest)
    assert (spec.count, spec.first_index, spec.frames) == (1, 0, 20)
    assert (spec.steps, spec.sampler, spec.guidance_scale) == (1000, "ddpm", 1.5)
    assert spec.labels == [4], "no label means the null class"
    assert spec.null_class == 4


def test_given_fields_are_kept() -> None:
    given: dict[str, Any] = {"count": 2, "first_index": 5, "seed": 0, "steps": 7, "sampler": "ddpm_beta", "frames": 0}
    spec = resolved(**given, labels=["two", 0], guidance_scale=3)
    assert spec.model_dump(include=set(given)) == given
    assert spec.labels == [2, 0]
    assert spec.guidance_scale == 3.0


def test_guidance_scale_0_is_not_replaced_by_the_default() -> None:
    assert resolved(guidance_scale=0, label=1).guidance_scale == 0.0


def test_minus_zero_becomes_zero() -> None:
    spec = resolved(card(samplers=["ddim"], sampler="ddim"), label=1, guidance_scale=-0.0, eta=-0.0)
    assert (str(spec.guidance_scale), str(spec.eta)) == ("0.0", "0.0")


def test_frames_are_at_most_steps() -> None:
    assert resolved(steps=3, frames=20).frames == 3


def test_random_seeds_have_53_bits() -> None:
    seeds = {resolved().seed for _ in range(200)}
    assert len(seeds) == 200
    assert all(seed < 2**53 for seed in seeds)
    assert any(seed >= 2**52 for seed in seeds), "all 53 bits are drawn from"


def test_64_bit_seed_is_kept_exactly() -> None:
    assert resolved(seed=2**64 - 1).seed == 2**64 - 1


@pytest.mark.parametrize("label", [2, "two"])
def test_label_by_number_or_name_applies_to_all_images(label: int | str) -> None:
    assert resolved(count=3, label=label).labels == [2, 2, 2]


def test_null_class_may_be_mixed_with_other_labels() -> None:
    spec = resolved(count=3, labels=[4, 1, "zero"], guidance_scale=2.5)
    assert spec.labels == [4, 1, 0]
    assert [spec.guidance(position) for position in range(3)] == [1.0, 2.5, 2.5], "nothing guides towards no class"
    assert spec.row_steps == 1000 * (1 + 2 + 2)


def test_recipe_is_the_same_for_an_image_requested_alone() -> None:
    together = resolved(count=3, first_index=10, seed=3, labels=["one", 4, "two"], guidance_scale=2)
    for position in range(3):
        assert together.labels is not None
        alone = resolved(first_index=10 + position, seed=3, label=together.labels[position], guidance_scale=2, frames=0)
        assert alone.recipe(0, "build") == together.recipe(position, "build")


def test_recipe_of_an_unguided_image_does_not_depend_on_guidance_scale() -> None:
    assert resolved(seed=3, guidance_scale=1).recipe(0, "build") == resolved(seed=3, guidance_scale=9).recipe(
        0, "build"
    )


def test_class_name_that_is_a_digit_is_a_name() -> None:
    """MNIST's classes are named by digits, which need not equal their numbers."""
    digits = card(classes=["9", "8", "7"], null_class=3)
    assert resolved(digits, label="7").labels == [2]
    assert resolved(digits, label=0).labels == [0]


def test_model_without_classes_has_no_labels() -> None:
    spec = resolved(NO_CLASSES, count=2)
    assert spec.labels is None
    assert spec.row_steps == 2 * 1000
    assert "label" not in spec.recipe(0, "build")


def test_model_without_null_class_needs_a_label() -> None:
    spec = resolved(NO_NULL_CLASS, label="three")
    assert spec.labels == [3]
    assert spec.guidance(0) == 1.0


@pytest.mark.parametrize(
    ("served", "body", "field", "allowed"),
    [
        (CARD, {"count": 101}, "count", "1 to 100"),
        (CARD, {"steps": 1001}, "steps", "1 to 1000"),
        (CARD, {"sampler": "euler"}, "sampler", "one of ddpm, ddpm_beta"),
        (CARD, {"first_index": MAX_INDEX, "count": 2}, "first_index", str(MAX_INDEX)),
        (CARD, {"label": 5}, "label", "0 to 3 or one of zero, one, two, three; 4 is the null class"),
        (CARD, {"label": -1}, "label", "0 to 3"),
        (CARD, {"label": "four"}, "label", "one of zero, one, two, three"),
        (CARD, {"label": "2"}, "label", "one of zero, one, two, three"),
        (CARD, {"labels": [0, 9], "count": 2}, "labels", "0 to 3"),
        (CARD, {"labels": [0], "count": 2}, "labels", "as many as count, 2"),
        (CARD, {"labels": [0], "label": 0}, "labels", "either label or labels"),
        (NO_CLASSES, {"label": 0}, "label", "no classes"),
        (NO_CLASSES, {"labels": [0]}, "labels", "no classes"),
        (NO_CLASSES, {"guidance_scale": 2}, "guidance_scale", "no null class"),
        (NO_NULL_CLASS, {}, "label", "one of zero, one, two, three"),
        (NO_NULL_CLASS, {"label": 4}, "label", "0 to 3"),
        (NO_NULL_CLASS, {"label": 0, "guidance_scale": 2}, "guidance_scale", "no null class"),
        (card(null_class=9), {"label": 7}, "label", "0 to 3"),
        (NO_CLASSES, {"label": "cycle"}, "label", "no classes"),
        (CARD, {"eta": 0.0}, "eta", "ddpm takes none"),
        (CARD, {"strength": 0.5}, "strength", "nothing without an image"),
        (CARD, {"image": "", "strength": 0.25, "steps": 251}, "steps", "1 to 250"),
    ],
)
def test_refused_field_says_what_is_allowed(served: ModelCard, body: dict[str, Any], field: str, allowed: str) -> None:
    with pytest.raises(FieldError) as refused:
        resolved(served, **body)
    assert refused.value.field == field
    assert allowed in refused.value.allowed
    assert field in str(refused.value)


def test_cycle_assigns_classes_by_index() -> None:
    """An image requested alone then has the class that it has in the whole cycle."""
    assert resolved(count=6, label="cycle").labels == [0, 1, 2, 3, 0, 1]
    assert resolved(count=2, first_index=3, label="cycle").labels == [3, 0]


def test_class_named_cycle_is_chosen_by_number() -> None:
    bikes = card(classes=["bus", "cycle"], null_class=2)
    assert resolved(bikes, count=2, label="cycle").labels == [0, 1]
    assert resolved(bikes, count=2, label=1).labels == [1, 1]
    assert resolved(bikes, count=2, labels=["cycle", "bus"]).labels == [1, 0]


def test_eta_is_only_for_ddim() -> None:
    served = card(samplers=["ddpm", "ddim"])
    assert resolved(served).eta is None
    assert "eta" not in resolved(served).recipe(0, "build")
    assert resolved(served, sampler="ddim").eta == 0
    assert resolved(served, sampler="ddim", eta=0.5).recipe(0, "build")["eta"] == 0.5


def test_strength_is_the_share_of_the_schedule_that_is_undone() -> None:
    image = base64.b64encode(b"any file").decode()
    started = resolved(image=image, strength=0.25)
    assert (started.start, started.steps) == (250, 250)
    assert resolved(image=image).start == 600
    assert resolved(image=image, strength=1e-9).start == 1
    assert started.recipe(0, "build")["start"] == 250
    assert started.recipe(0, "build")["image_sha256"] == hashlib.sha256(b"any file").hexdigest()
    assert resolved().start == 1000
    assert "start" not in resolved().recipe(0, "build")


def test_schema_and_samplers_have_the_same_names() -> None:
    assert set(get_args(Spacing)) == set(samplers.SPACINGS)
    assert get_args(Thresholding) == get_args(samplers.Thresholding)
    assert TAKES_ETA in samplers.SAMPLERS


def test_largest_index_is_allowed() -> None:
    assert resolved(first_index=MAX_INDEX).first_index == MAX_INDEX


def test_first_model_is_the_default_and_an_unknown_one_is_refused() -> None:
    cards = [card(name="a"), card(name="b")]
    assert choose(None, cards).name == "a"
    assert choose("b", cards).name == "b"
    with pytest.raises(FieldError) as refused:
        choose("c", cards)
    assert refused.value.field == "model"
    assert refused.value.allowed == "one of a, b"
