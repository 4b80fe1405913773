"""Checkpoints: saved, loaded (also by diffusers), refused if damaged, and replaced atomically."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from model import checkpoint
from model.checkpoint import SCHEDULER_CONFIG, UNET_CONFIG, WEIGHTS, Card, CheckpointError
from model.networks.unet import UNet, UNetConfig
from model.sampling.schedule import BETA_SCHEDULES, Schedule

CONFIG = UNetConfig(
    sample_size=8,
    in_channels=1,
    out_channels=1,
    block_out_channels=(8, 16),
    down_block_types=("DownBlock2D", "AttnDownBlock2D"),
    up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    norm_num_groups=4,
    norm_eps=1e-6,
    num_class_embeds=3,
)
MODELS = Path(__file__).parents[2] / "checkpoints"
UNCONDITIONAL = dataclasses.replace(CONFIG, num_class_embeds=None)
SCHEDULE = Schedule(beta_end=0.03, prediction_type="v_prediction")
CARD = Card(
    created_at="2026-01-01T00:00:00+00:00",
    classes=("café", "owl"),
    guidance_scale=1.5,
    data={"source": "drawn", "images": 3},
    training={"steps": 7},
    metrics={"accuracy": 0.5},
)


def network(seed: int = 0, config: UNetConfig = CONFIG) -> UNet:
    torch.manual_seed(seed)
    return UNet(config)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "tiny", network(), SCHEDULE, CARD)
    return tmp_path / "tiny"


def change(file: Path, **fields: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_save_then_load_returns_the_same_network_schedule_and_card(tmp_path: Path) -> None:
    unet = network()
    card = checkpoint.save(tmp_path / "tiny", unet, SCHEDULE, CARD)
    loaded = checkpoint.load(tmp_path / "tiny")
    assert loaded.unet.config == CONFIG
    assert loaded.schedule == SCHEDULE
    assert loaded.card == card == dataclasses.replace(CARD, digest=card.digest)
    assert loaded.null_class == 2
    for name, tensor in unet.state_dict().items():
        assert torch.equal(loaded.unet.state_dict()[name], tensor)
    assert not loaded.unet.training
    assert not any(parameter.requires_grad for parameter in loaded.unet.parameters())


def test_weights_are_saved_as_float32(tmp_path: Path) -> None:
    unet = network().to(torch.bfloat16, memory_format=torch.channels_last)
    checkpoint.save(tmp_path / "tiny", unet, SCHEDULE, CARD)
    for name, tensor in checkpoint.load(tmp_path / "tiny").unet.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, unet.state_dict()[name].float())


def test_digest_covers_weights_network_and_schedule_but_not_the_card(tmp_path: Path) -> None:
    def digest(unet: UNet, schedule: Schedule, card: Card) -> str:
        return checkpoint.save(tmp_path / "tiny", unet, schedule, card).digest

    first = digest(network(), SCHEDULE, CARD)
    assert digest(network(), SCHEDULE, Card()) == first
    assert digest(network(seed=1), SCHEDULE, CARD) != first
    assert digest(network(), dataclasses.replace(SCHEDULE, beta_end=0.02), CARD) != first
    eps = dataclasses.replace(CONFIG, norm_eps=1e-5)
    assert digest(network(config=eps), SCHEDULE, CARD) != first


@pytest.mark.parametrize("embeds", [None, 11])
def test_diffusers_loads_the_network(embeds: int | None, tmp_path: Path) -> None:
    unet = network(config=dataclasses.replace(CONFIG, num_class_embeds=embeds)).eval()
    checkpoint.save(tmp_path / "tiny", unet, SCHEDULE, CARD)
    theirs = UNet2DModel.from_pretrained(tmp_path / "tiny", subfolder="unet")
    x_t, t = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    labels = None if embeds is None else torch.tensor([0, 10])
    with torch.no_grad():
        expected = theirs(x_t, t, class_labels=labels).sample
        torch.testing.assert_close(unet(x_t, t, labels), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        *({"beta_schedule": name} for name in BETA_SCHEDULES),
        {"trained_betas": tuple(0.01 + 0.002 * t for t in range(50))},
        {"rescale_betas_zero_snr": True},
    ],
    ids=str,
)
def test_diffusers_loads_the_schedule(fields: dict[str, Any], tmp_path: Path) -> None:
    schedule = Schedule(num_train_timesteps=50, beta_end=0.03, prediction_type="v_prediction", **fields)
    checkpoint.save(tmp_path / "tiny", network(), schedule, CARD)
    assert checkpoint.load(tmp_path / "tiny").schedule == schedule
    theirs = DDPMScheduler.from_pretrained(tmp_path / "tiny", subfolder="scheduler")
    assert theirs.config.prediction_type == "v_prediction"
    assert theirs.config.clip_sample
    # diffusers computes in float32: each of 50 factors, and each product, is rounded once.
    torch.testing.assert_close(theirs.alphas_cumprod.double(), schedule.alphas_cumprod, atol=2 * 50 * 2**-24, rtol=0)


@pytest.mark.parametrize("name", ["digits", "fashion-mnist", "mnist"])
def test_digest_of_a_reference_model_has_not_changed(name: str) -> None:
    """The digest is that of its card in 0.1.0."""
    digests = {
        "digits": "4b22bbc8957ac2dcc0e37cadc6eb7341fa482787f61cf22ccc796d46fe34676c",
        "fashion-mnist": "798f74ba5adc59b4a89c1de7b6c0d6bc7792011e87d74978b30b409d356fa564",
        "mnist": "c3222ad028a64559da9eba6d9b5907644c491d49fafb5d6ec1ae00eddab73f00",
    }
    assert checkpoint.load(MODELS / name).card.digest == digests[name]


def test_diffusers_pipeline_samples_from_it(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "tiny", network(config=UNCONDITIONAL), SCHEDULE, Card())
    pipeline = DDPMPipeline.from_pretrained(tmp_path / "tiny")
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(batch_size=2, num_inference_steps=3, output_type="np").images
    assert made.shape == (2, 8, 8, 1)


def test_config_written_by_diffusers_loads_as_the_same_network(saved: Path, tmp_path: Path) -> None:
    """diffusers' config has more fields, with the only values that are supported."""
    UNet2DModel.from_pretrained(saved, subfolder="unet").save_pretrained(tmp_path / "theirs")
    DDPMScheduler.from_pretrained(saved, subfolder="scheduler").save_pretrained(tmp_path / "theirs")
    shutil.copy(tmp_path / "theirs" / "config.json", saved / UNET_CONFIG)
    shutil.copy(tmp_path / "theirs" / "scheduler_config.json", saved / SCHEDULER_CONFIG)
    loaded = checkpoint.load(saved)
    assert loaded.unet.config == CONFIG
    assert loaded.schedule == SCHEDULE


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1], ids=str)
def test_truncated_weights_are_refused(kept: float, saved: Path) -> None:
    whole = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(whole[: int(len(whole) * kept) if kept == 0.5 else int(kept)])
    with pytest.raises(CheckpointError, match="checkpoint tiny cannot be served"):
        checkpoint.load(saved)


def test_flipped_bit_in_the_weights_is_refused(saved: Path) -> None:
    whole = (saved / WEIGHTS).read_bytes()
    for position in {0, 7, 8, 50, *range(0, len(whole), len(whole) // 11), len(whole) - 1}:
        flipped = bytearray(whole)
        flipped[position] ^= 1
        (saved / WEIGHTS).write_bytes(flipped)
        with pytest.raises(CheckpointError, match="checkpoint tiny cannot be served"):
            checkpoint.load(saved)
    (saved / WEIGHTS).write_bytes(whole)
    checkpoint.load(saved)


@pytest.mark.parametrize("file", ["card.json", UNET_CONFIG, SCHEDULER_CONFIG, WEIGHTS])
def test_missing_file_is_named(file: str, saved: Path) -> None:
    (saved / file).unlink()
    with pytest.raises(CheckpointError, match=Path(file).name):
        checkpoint.load(saved)


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="checkpoint absent"):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize(
    ("file", "fields", "named"),
    [
        (UNET_CONFIG, {"act_fn": "gelu"}, "act_fn='gelu'"),
        (UNET_CONFIG, {"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift"),
        (UNET_CONFIG, {"time_embedding_type": "fourier"}, "time_embedding_type"),
        (UNET_CONFIG, {"add_attention": False}, "add_attention"),
        (UNET_CONFIG, {"down_block_types": ["SkipDownBlock2D", "DownBlock2D"]}, "SkipDownBlock2D"),
        (UNET_CONFIG, {"sample_size": [8, 16]}, "tiny"),
        (UNET_CONFIG, {"block_out_channels": [8, 32]}, "size mismatch"),
        (UNET_CONFIG, {"norm_eps": 1e-5}, "digest"),
        (SCHEDULER_CONFIG, {"clip_sample_range": 2.0}, "clip_sample_range=2.0"),
        (SCHEDULER_CONFIG, {"thresholding": True}, "thresholding=True"),
        (SCHEDULER_CONFIG, {"trained_betas": [0.1, 0.2]}, "trained_betas"),
        (SCHEDULER_CONFIG, {"trained_betas": 0.1}, "tiny"),
        (SCHEDULER_CONFIG, {"beta_schedule": "sawtooth"}, "'sawtooth'"),
        (SCHEDULER_CONFIG, {"beta_schedule": "laplace"}, "digest"),
        (SCHEDULER_CONFIG, {"prediction_type": "flow"}, "'flow'"),
        (SCHEDULER_CONFIG, {"beta_end": 0.02}, "digest"),
        ("card.json", {"digest": "0" * 64}, "digest"),
        ("card.json", {"colour": "red"}, "colour"),
    ],
)
def test_unsupported_value_is_refused_by_name(file: str, fields: dict[str, Any], named: str, saved: Path) -> None:
    change(saved / file, **fields)
    with pytest.raises(CheckpointError, match=named):
        checkpoint.load(saved)


@pytest.mark.parametrize("file", ["card.json", UNET_CONFIG, SCHEDULER_CONFIG])
@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_file_that_is_not_a_json_object_is_refused(file: str, text: str, saved: Path) -> None:
    (saved / file).write_text(text)
    with pytest.raises(CheckpointError, match="checkpoint tiny cannot be served"):
        checkpoint.load(saved)


def test_write_card_replaces_the_card_and_keeps_the_digest(saved: Path) -> None:
    card = checkpoint.read_card(saved)
    checkpoint.write_card(saved, dataclasses.replace(card, metrics={"accuracy": 1.0}))
    loaded = checkpoint.load(saved)
    assert loaded.card.metrics == {"accuracy": 1.0}
    assert loaded.card.digest == card.digest


def test_reader_sees_the_old_or_the_new_checkpoint(tmp_path: Path) -> None:
    """Loaded repeatedly while two networks replace each other."""
    path = tmp_path / "tiny"
    networks = [network(seed) for seed in range(2)]
    digests = {checkpoint.save(path, unet, SCHEDULE, CARD).digest for unet in networks}
    saving = threading.Thread(
        target=lambda: [checkpoint.save(path, networks[i % 2], SCHEDULE, CARD) for i in range(40)]
    )
    saving.start()
    seen = []
    while saving.is_alive():
        seen.append(checkpoint.load(path).card.digest)
    saving.join()
    assert set(seen) <= digests
    assert len(seen) > 1


@pytest.mark.parametrize("saves", [1, 3])
def test_reader_reads_again_if_the_folder_was_replaced_meanwhile(
    saves: int, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worst moment: the card is of the old checkpoint, the weights are of the new one."""
    read_card, left = checkpoint.read_card, list(range(1, saves + 1))

    def overtaken(path: Path) -> Card:
        card = read_card(path)
        if left:
            checkpoint.save(saved, network(seed=left.pop(0)), SCHEDULE, CARD)
        return card

    monkeypatch.setattr(checkpoint, "read_card", overtaken)
    loaded = checkpoint.load(saved)
    assert loaded.card.digest == read_card(saved).digest
    assert torch.equal(loaded.unet.conv_in.weight, network(seed=saves).conv_in.weight)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_leftovers_of_a_killed_save_are_ignored(
    can_exchange: bool, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process in a container may get the same process id again."""
    if not can_exchange:
        monkeypatch.setattr("model.files._exchange", lambda *_: False)
    for leftover in (f".tiny.new-{os.getpid()}", f".tiny.old-{os.getpid()}", ".tiny.new-1", ".tiny.old-1"):
        (saved.with_name(leftover) / "unet").mkdir(parents=True)
        (saved.with_name(leftover) / "unet" / "config.json").write_text("{")
    checkpoint.load(saved)
    card = checkpoint.save(saved, network(seed=1), SCHEDULE, CARD)
    assert checkpoint.load(saved).card == card
    checkpoint.save(saved, network(seed=2), SCHEDULE, CARD)


def test_save_leaves_no_temporary_files(saved: Path) -> None:
    checkpoint.save(saved, network(seed=1), SCHEDULE, CARD)
    assert [path.name for path in saved.parent.iterdir()] == ["tiny"]
    files = {str(path.relative_to(saved)) for path in saved.rglob("*") if path.is_file()}
    assert files == {"card.json", "model_index.json", UNET_CONFIG, SCHEDULER_CONFIG, WEIGHTS}
