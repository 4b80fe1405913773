"""Interchange with diffusers: import and export, with the same images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.schedulers import scheduling_ddpm
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import checkpoint
from model.checkpoint import CheckpointError
from model.interchange import import_checkpoint
from model.sampling import noise, samplers
from model.sampling.schedule import BETA_SCHEDULES

SMALL: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 1,
    "out_channels": 1,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
}
WEIGHTS = "diffusion_pytorch_model.safetensors"


def theirs(**fields: Any) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(**{**SMALL, **fields})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A pipeline, as diffusers saves it."""
    DDPMPipeline(theirs(), DDPMScheduler(num_train_timesteps=50, beta_end=0.2)).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def change(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def picture_of(pipeline: DDPMPipeline, monkeypatch: pytest.MonkeyPatch, count: int = 2) -> Tensor:
    """x0 of diffusers' own loop, with our noise instead of its own."""
    indices = torch.arange(count)
    seeds, shape = torch.full_like(indices, 5), (1, 8, 8)
    x = noise.x_T(seeds, indices, shape)
    pipeline.scheduler.set_timesteps(pipeline.scheduler.config.num_train_timesteps)
    for row, t in enumerate(pipeline.scheduler.timesteps):
        drawn = noise.step_noise(seeds, indices, torch.full_like(indices, row), shape)
        monkeypatch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, drawn=drawn, **__: drawn)
        with torch.no_grad():
            x = pipeline.scheduler.step(pipeline.unet(x, t).sample, t, x).prev_sample
    return x


@pytest.mark.parametrize("clip_sample", [True, False])
@pytest.mark.parametrize("variance_type", ["fixed_small", "fixed_large"])
@pytest.mark.parametrize("nested", [True, False])
def test_imported_pipeline_gives_diffusers_images(
    nested: bool, variance_type: str, clip_sample: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = DDPMScheduler(50, beta_end=0.2, variance_type=variance_type, clip_sample=clip_sample)
    pipeline = DDPMPipeline(theirs().eval(), scheduler)
    if nested:
        pipeline.save_pretrained(tmp_path / "theirs")
    else:
        pipeline.unet.save_pretrained(tmp_path / "theirs")
        scheduler.save_pretrained(tmp_path / "theirs")
    card = import_checkpoint(tmp_path / "theirs", tmp_path / "ours")
    loaded = checkpoint.load(tmp_path / "ours")
    assert loaded.card == card
    table = samplers.table(card.sampler, loaded.schedule, 50, thresholding=card.thresholding)
    *_, ours = samplers.sample(loaded.unet, table, seed=5, count=2)
    torch.testing.assert_close(ours, picture_of(pipeline, monkeypatch), atol=1e-4, rtol=1e-4)
    again = DDPMPipeline.from_pretrained(tmp_path / "ours")
    torch.testing.assert_close(ours, picture_of(again, monkeypatch), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        *({"beta_schedule": name, "beta_end": 0.2} for name in BETA_SCHEDULES),
        {"trained_betas": [0.001 + 0.004 * t for t in range(50)]},
        {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction"},
    ],
    ids=str,
)
def test_import_and_export_keep_every_noise_schedule(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = DDPMPipeline(theirs().eval(), DDPMScheduler(50, **fields))
    pipeline.save_pretrained(tmp_path / "theirs")
    card = import_checkpoint(tmp_path / "theirs", tmp_path / "ours")
    loaded = checkpoint.load(tmp_path / "ours")
    again = DDPMPipeline.from_pretrained(tmp_path / "ours")
    assert torch.equal(again.scheduler.alphas_cumprod, pipeline.scheduler.alphas_cumprod)
    # diffusers' float32 loses the digits of 1 - alphas_cumprod at the first timesteps, which is not compared here.
    pipeline.scheduler.alphas_cumprod = loaded.schedule.alphas_cumprod
    *_, ours = samplers.sample(loaded.unet, samplers.table(card.sampler, loaded.schedule, 50), seed=5, count=2)
    torch.testing.assert_close(ours, picture_of(pipeline, monkeypatch), atol=1e-4, rtol=1e-4)


def test_network_with_other_channels_out_than_in_is_refused(tmp_path: Path) -> None:
    theirs(out_channels=2).save_pretrained(tmp_path / "theirs")
    DDPMScheduler().save_pretrained(tmp_path / "theirs")
    with pytest.raises(CheckpointError, match="out_channels must equal in_channels, 1, not 2"):
        import_checkpoint(tmp_path / "theirs", tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_imported_conditional_network_has_numbers_as_classes(tmp_path: Path) -> None:
    unet = theirs(num_class_embeds=3).eval()
    unet.save_pretrained(tmp_path / "theirs")
    DDPMScheduler().save_pretrained(tmp_path / "theirs")
    import_checkpoint(tmp_path / "theirs", tmp_path / "ours")
    loaded = checkpoint.load(tmp_path / "ours")
    assert loaded.card.classes == ("0", "1", "2")
    assert loaded.null_class is None
    x, t, labels = torch.randn(2, 1, 8, 8), torch.tensor([3, 900]), torch.tensor([2, 0])
    with torch.no_grad():
        expected = unet(x, t, class_labels=labels).sample
        torch.testing.assert_close(loaded.unet(x, t, labels), expected, atol=1e-5, rtol=1e-4)
        written = UNet2DModel.from_pretrained(tmp_path / "ours", subfolder="unet")
        torch.testing.assert_close(written(x, t, class_labels=labels).sample, expected)


def test_import_renames_attention_layers_of_older_versions(saved: Path, tmp_path: Path) -> None:
    """google/ddpm-cifar10-32 has these names; some layers were 1×1 convolutions."""
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def aged(name: str, tensor: Tensor) -> tuple[str, Tensor]:
        for new, old in older.items():
            if f".attentions.0.{new}." in name:
                old_tensor = tensor[:, :, None, None] if tensor.dim() == 2 and new == "to_q" else tensor
                return name.replace(new, old), old_tensor.contiguous()
        return name, tensor

    weights = load_file(saved / "unet" / WEIGHTS)
    aged_weights = dict(aged(name, tensor) for name, tensor in weights.items())
    assert aged_weights.keys() != weights.keys()
    save_file(aged_weights, saved / "unet" / WEIGHTS)
    import_checkpoint(saved, tmp_path / "ours")
    loaded = checkpoint.load(tmp_path / "ours").unet.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


def test_import_fills_missing_config_fields_with_diffusers_defaults(tmp_path: Path) -> None:
    """Current versions write every field; older ones did not."""
    folder = tmp_path / "theirs"
    fields = {**SMALL, "block_out_channels": (32, 64)}
    theirs().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps(fields))
    DDPMScheduler().save_pretrained(folder)
    import_checkpoint(folder, tmp_path / "ours")
    assert checkpoint.load(tmp_path / "ours").unet.config.layers_per_block == 2


def test_imported_ddim_scheduler_recommends_ddim(tmp_path: Path) -> None:
    DDIMPipeline(theirs(), DDIMScheduler(clip_sample=False)).save_pretrained(tmp_path / "theirs")
    card = import_checkpoint(tmp_path / "theirs", tmp_path / "ours")
    assert (card.sampler, card.thresholding) == ("ddim", "none")


@pytest.mark.parametrize(
    ("file", "fields", "named"),
    [
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "UNet2DConditionModel"),
        ("unet/config.json", {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"]}, "CrossAttnDownBlock2D"),
        ("unet/config.json", {"time_embedding_type": "fourier"}, "time_embedding_type"),
        ("scheduler/scheduler_config.json", {"_class_name": "ScoreSdeVeScheduler"}, "ScoreSdeVeScheduler"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, "learned"),
        ("scheduler/scheduler_config.json", {"thresholding": True}, "thresholding"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "sawtooth"}, "sawtooth"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1, 0.2]}, "trained_betas"),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler", "set_alpha_to_one": False}, "set_alpha"),
    ],
)
def test_import_refuses_unsupported_options_by_name(
    file: str, fields: dict[str, Any], named: str, saved: Path, tmp_path: Path
) -> None:
    change(saved / file, **fields)
    with pytest.raises(CheckpointError, match=named):
        import_checkpoint(saved, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_import_names_missing_files(saved: Path, tmp_path: Path) -> None:
    (saved / "unet" / WEIGHTS).rename(saved / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(CheckpointError, match="only safetensors are read"):
        import_checkpoint(saved, tmp_path / "ours")
    (saved / "scheduler" / "scheduler_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"scheduler_config\.json"):
        import_checkpoint(saved, tmp_path / "ours")
    (saved / "vae").mkdir()
    with pytest.raises(CheckpointError, match="vae"):
        import_checkpoint(saved, tmp_path / "ours")
    with pytest.raises(CheckpointError, match=r"config\.json"):
        import_checkpoint(tmp_path / "nothing", tmp_path / "ours")
