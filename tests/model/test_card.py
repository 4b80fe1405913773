"""A card is validated when its checkpoint is read; errors name the field."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from model import checkpoint
from model.checkpoint import CARD, Card, CheckpointError
from model.networks.unet import UNet, UNetConfig
from model.sampling.samplers import SAMPLERS
from model.sampling.schedule import Schedule

NETWORK: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (8,),
    "down_block_types": ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",),
    "norm_num_groups": 4,
}


def saved(folder: Path, card: Card, **network: Any) -> Path:
    torch.manual_seed(0)
    checkpoint.save(folder / "tiny", UNet(UNetConfig(**NETWORK | network)), Schedule(num_train_timesteps=100), card)
    return folder / "tiny"


@pytest.fixture
def conditional(tmp_path: Path) -> Path:
    """Two classes and a null class."""
    return saved(tmp_path, Card(classes=("cat", "dog"), guidance_scale=1.5, steps=20), num_class_embeds=3)


def change(path: Path, **fields: object) -> None:
    card = json.loads((path / CARD).read_text())
    (path / CARD).write_text(json.dumps(card | fields))


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("digest", 7, "text"),
        ("created_at", None, "text"),
        ("created_at", "\ud800", "text"),
        ("classes", None, "a list of distinct names"),
        ("classes", "cats", "a list of distinct names"),
        ("classes", [0, 1], "a list of distinct names"),
        ("classes", ["cat", ""], "a list of distinct names"),
        ("classes", ["cat", "cat"], "a list of distinct names"),
        ("classes", ["cat", ["dog"]], "a list of distinct names"),
        ("classes", ["cat", "dog", "owl", "bee"], "4 classes, but its network has 3 class embeddings"),
        ("classes", [], "name them in card.json"),
        ("guidance_scale", None, "0 to 100"),
        ("guidance_scale", "1.5", "0 to 100"),
        ("guidance_scale", True, "0 to 100"),
        ("guidance_scale", math.nan, "0 to 100"),
        ("guidance_scale", math.inf, "0 to 100"),
        ("guidance_scale", -1, "0 to 100"),
        pytest.param("guidance_scale", 10**400, "0 to 100", id="guidance_scale-10^400"),
        ("sampler", "euler", "one of " + ", ".join(SAMPLERS)),
        ("sampler", None, "one of"),
        ("sampler", ["ddpm"], "one of"),
        ("steps", 0, "null or an integer of at least 1"),
        ("steps", 101, "1 to 100"),
        ("steps", 5000, "1 to 100"),
        ("steps", 20.0, "null or an integer of at least 1"),
        ("steps", True, "null or an integer of at least 1"),
        ("steps", "20", "null or an integer of at least 1"),
        ("thresholding", "clip", "one of static, dynamic, none"),
        ("thresholding", None, "one of"),
        *(
            (field, value, "a JSON object of finite numbers")
            for field in ("data", "training", "metrics")
            for value in (None, [], "text", {"loss": math.nan}, {"loss": [-math.inf]}, {"a": "\ud800"}, nested(50))
        ),
        ("colour", "blue", "known fields"),
    ],
)
def test_bad_card_is_refused_with_the_field_and_what_is_allowed(
    field: str, value: object, allowed: str, conditional: Path
) -> None:
    checkpoint.load(conditional)
    change(conditional, **{field: value})
    with pytest.raises(CheckpointError, match="checkpoint tiny cannot be served") as refused:
        checkpoint.load(conditional)
    assert field in str(refused.value)
    assert allowed in str(refused.value)
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", '"card"', "[" * 100_000, '{"data": {"a": 1e999}}', "\x00"]
)
def test_card_that_is_not_a_json_object_of_finite_numbers_is_refused(text: str, conditional: Path) -> None:
    (conditional / CARD).write_text(text)
    with pytest.raises(CheckpointError, match=r"checkpoint tiny cannot be served: .*card\.json"):
        checkpoint.load(conditional)


def test_card_that_is_not_utf_8_is_refused(conditional: Path) -> None:
    (conditional / CARD).write_bytes(b'{"created_at": "\xff"}')
    with pytest.raises(CheckpointError, match=r"card\.json"):
        checkpoint.load(conditional)


def test_guidance_without_a_null_class_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Card(classes=("cat", "dog"), guidance_scale=1.5), num_class_embeds=2)
    with pytest.raises(CheckpointError, match="guidance_scale must be 1, since its network has no null class"):
        checkpoint.load(path)
    change(path, guidance_scale=1)
    assert checkpoint.load(path).null_class is None


def test_classes_of_an_unconditional_network_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Card(classes=("cat",)))
    with pytest.raises(CheckpointError, match="classes names 1 classes, but its network has 0 class embeddings"):
        checkpoint.load(path)


def test_network_with_other_channels_out_than_in_is_refused(tmp_path: Path) -> None:
    """As of a learned variance: twice as many out as in."""
    with pytest.raises(CheckpointError, match="out_channels must equal in_channels"):
        checkpoint.load(saved(tmp_path, Card(), out_channels=2))


def test_every_field_but_the_digest_may_be_left_out(tmp_path: Path) -> None:
    path = saved(tmp_path, Card())
    card = checkpoint.read_card(path)
    (path / CARD).write_text(json.dumps({"digest": card.digest}))
    assert checkpoint.load(path).card == card


def test_training_and_metrics_may_hold_any_plain_json(conditional: Path) -> None:
    report = {"loss": 0.1, "loss_weighting": "min-SNR, gamma 5", "recipe": {"epochs": None, "deep": [[[[True, -3]]]]}}
    change(conditional, training=report, metrics=report, data=report)
    card = checkpoint.load(conditional).card
    assert card.training == card.metrics == card.data == report


@pytest.mark.parametrize(("embeds", "classes", "null_class"), [(None, (), None), (2, ("a", "b"), None), (3, ("a",), 2)])
def test_null_class_is_the_last_embedding_without_a_name(
    embeds: int | None, classes: tuple[str, ...], null_class: int | None, tmp_path: Path
) -> None:
    """diffusers' own class-conditional checkpoints have no null class."""
    path = saved(tmp_path, Card(classes=classes), num_class_embeds=embeds)
    assert checkpoint.load(path).null_class == null_class
