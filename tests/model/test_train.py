"""The trainer on scikit-learn's digits: what it learns, and what it writes."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model import checkpoint, data
from model.data import Dataset
from model.evaluation import figures
from model.sampling.schedule import Schedule
from model.training import run_log
from model.training.recipe import automatic
from model.training.run_log import METRICS
from model.training.state import STATE
from model.training.train import Trainer, TrainingError
from tests.model.tiny_training import RECIPE, losses, recipe

pytestmark = pytest.mark.usefixtures("short_samples")


def test_loss_falls(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network's error is the variance of the noise, 1; training more than halves it."""
    learning = recipe(steps=100, warmup_steps=10, learning_rate=1e-2)
    learning = dataclasses.replace(learning, schedule=Schedule())
    trainer = Trainer(learning, digits, tmp_path / "run", device="cpu")
    monkeypatch.setattr(trainer, "checkpoint", lambda: None)
    reports = list(trainer.train())
    assert [report.step for report in reports] == list(range(1, 101))
    taken = [report.loss for report in reports]
    assert taken[0] > 0.9
    assert sum(taken[-30:]) / 30 < 0.45


def test_run_folder_holds_checkpoint_state_metrics_and_figures(whole_run: Path, digits: Dataset) -> None:
    assert {path.name for path in whole_run.iterdir() if not path.name.startswith("events.out")} == {
        STATE,
        METRICS,
        "loss.png",
        "samples.png",
        "checkpoint",
    }
    loaded = checkpoint.load(whole_run / "checkpoint")
    assert loaded.card.classes == digits.classes
    assert loaded.null_class == 10
    assert loaded.card.data == {"source": "digits", "images": 64}
    assert loaded.card.training["steps"] == 14
    assert loaded.card.training["images"] == 14 * 16
    assert loaded.card.training["loss"] == pytest.approx(sum(losses(whole_run)) / 14, abs=1e-5)
    assert loaded.schedule == RECIPE.schedule
    state = load_file(whole_run / STATE)
    for name, tensor in loaded.unet.state_dict().items():
        assert tensor.equal(state[f"ema.{name}"])
    copied = whole_run / "checkpoint" / "figures" / "samples.png"
    assert copied.read_bytes() == (whole_run / "samples.png").read_bytes()


def test_automatic_recipe_trains_on_zip_of_colour_photographs(real_data: Path, tmp_path: Path) -> None:
    """Some of CIFAR-10 as JPEGs in class folders, with the recipe of `noisemill train --data`."""
    few = tmp_path / "few.zip"
    with zipfile.ZipFile(real_data / "CIFAR10-jpeg/train.zip") as whole, zipfile.ZipFile(few, "w") as some:
        for name in sorted(whole.namelist())[::250]:
            if name.endswith(".jpg"):
                some.writestr(name, whole.read(name))
    photographs = data.load(str(few), size=16)
    assert photographs.images.shape[1:] == (3, 16, 16)
    assert len(photographs.classes) == 10
    planned = automatic("photographs", str(few), 16, photographs, "cpu")
    quick = dataclasses.replace(planned.training, steps=20, batch_size=16, warmup_steps=2, compile=False)
    list(Trainer(dataclasses.replace(planned, training=quick), photographs, tmp_path / "run", device="cpu").train())
    taken = losses(tmp_path / "run")
    assert sum(taken[-5:]) / 5 < taken[0] / 2
    loaded = checkpoint.load(tmp_path / "run/checkpoint")
    assert (loaded.unet.config.out_channels, loaded.null_class) == (3, 10)
    with Image.open(tmp_path / "run/samples.png") as grid:
        assert grid.mode == "RGB"


def test_tensorboard_events_equal_metrics_jsonl(whole_run: Path) -> None:
    reader = EventAccumulator(str(whole_run))
    reader.Reload()
    shown = {event.step: event.value for event in reader.Scalars("loss")}
    assert list(shown) == list(range(1, 15))
    assert list(shown.values()) == pytest.approx(losses(whole_run), rel=1e-6)
    assert {"learning_rate", "images_per_second"} <= set(reader.Tags()["scalars"])


def test_another_seed_gives_another_run(whole_run: Path, digits: Dataset, tmp_path: Path) -> None:
    list(Trainer(recipe(seed=1), digits, tmp_path / "run", device="cpu").train())
    assert losses(tmp_path / "run") != losses(whole_run)


def test_min_snr_reduces_the_loss_of_steps_with_little_noise(digits: Dataset, tmp_path: Path) -> None:
    """A gamma above every SNR leaves the loss as it is; the smaller gamma, the smaller the weights."""
    first = {
        gamma: next(Trainer(recipe(min_snr_gamma=gamma), digits, tmp_path / str(gamma), device="cpu").train()).loss
        for gamma in (None, 1e9, 5.0, 1.0)
    }
    assert first[1e9] == pytest.approx(first[None], rel=1e-6)
    assert 0 < first[1.0] < first[5.0] < first[1e9]


@pytest.mark.parametrize(("gamma", "weighting"), [(None, "none"), (5.0, "min-SNR, gamma 5")])
def test_card_and_loss_curve_name_the_loss_weighting(
    gamma: float | None, weighting: str, digits: Dataset, tmp_path: Path
) -> None:
    """Losses under different weightings are not comparable."""
    list(Trainer(recipe(steps=2, min_snr_gamma=gamma), digits, tmp_path / "run", device="cpu").train())
    training = checkpoint.read_card(tmp_path / "run/checkpoint").training
    assert list(training)[3:5] == ["loss", "loss_weighting"]
    assert training["loss_weighting"] == weighting
    curve = figures.loss_curve(losses(tmp_path / "run"), steps_per_epoch=4, weighting=weighting)
    assert (tmp_path / "run/loss.png").read_bytes() == curve


def test_accumulated_parts_train_like_whole_batch(digits: Dataset, tmp_path: Path) -> None:
    reports = {
        parts: list(Trainer(recipe(accumulate=parts), digits, tmp_path / str(parts), device="cpu").train())
        for parts in (1, 3)
    }
    for whole, parted in zip(reports[1], reports[3], strict=True):
        assert parted.loss == pytest.approx(whole.loss, rel=2e-3)
    assert reports[1][-1].loss < 0.95 * reports[1][0].loss


def test_epochs_are_counted_in_whole_batches(digits: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(recipe(steps=None, epochs=2), digits, tmp_path, device="cpu")
    assert trainer.steps == 2 * (64 // 16)


def test_keep_best_keeps_checkpoint_with_least_loss(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses are given: the two steps before step 4 have the least mean."""
    trainer = Trainer(recipe(keep_best=True, checkpoint_every=2, steps=6), digits, tmp_path, device="cpu")
    monkeypatch.setattr(run_log, "losses", lambda run: [0.5, 0.4, 0.2, 0.3, 0.9, 0.8][: trainer.step])
    list(trainer.train())
    assert checkpoint.load(trainer.result).card.training["steps"] == 4
    assert checkpoint.load(tmp_path / "checkpoint").card.training["steps"] == 6
    again = Trainer(trainer.recipe, digits, tmp_path, device="cpu")
    again.resume()
    assert again.best == trainer.best == 0.25


def test_unlabelled_data_trains_unconditional_network(digits: Dataset, tmp_path: Path) -> None:
    unlabelled = dataclasses.replace(digits, labels=None, classes=())
    list(Trainer(recipe(steps=2), unlabelled, tmp_path / "run", device="cpu").train())
    loaded = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert loaded.unet.config.num_class_embeds is None
    assert loaded.null_class is None


def test_fewer_images_than_a_batch_are_refused(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="64 images, fewer than a batch of 65"):
        Trainer(recipe(batch_size=65), digits, tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def saved_files(run: Path) -> dict[Path, bytes]:
    paths = [run / STATE, *(run / "checkpoint").rglob("*"), *run.glob("*.png")]
    return {path: path.read_bytes() for path in paths if path.is_file()}


def test_non_finite_loss_is_never_saved(digits: Dataset, tmp_path: Path) -> None:
    """Ctrl-C during the failing step calls `checkpoint` after it: what was saved before must stay."""
    trainer = Trainer(recipe(checkpoint_every=2), digits, tmp_path / "run", device="cpu")
    reports = trainer.train()
    for _ in range(3):
        next(reports)
    saved = saved_files(trainer.run)
    with torch.no_grad():
        next(trainer.unet.parameters()).fill_(1e30)  # the effect of a learning rate that is too high
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step 4: lower learning_rate"):
        next(reports)
    with pytest.raises(TrainingError, match="not saved"):
        trainer.checkpoint()
    assert saved_files(trainer.run) == saved
    assert all(tensor.isfinite().all() for tensor in load_file(trainer.state_path).values())


def test_non_finite_weights_after_finite_loss_are_never_saved(digits: Dataset, tmp_path: Path) -> None:
    """The first step has a finite loss; a learning rate beyond float32 makes its weights infinite."""
    trainer = Trainer(
        recipe(learning_rate=1e39, warmup_steps=0, checkpoint_every=1), digits, tmp_path / "run", device="cpu"
    )
    with pytest.raises(TrainingError, match=r"not saved.*lower learning_rate"):
        next(trainer.train())
    assert not all(parameter.isfinite().all() for parameter in trainer.unet.parameters())
    assert not trainer.state_path.exists()
    assert not (trainer.run / "checkpoint").exists()


def test_non_finite_loss_leaves_weights_and_average_of_the_step_before(digits: Dataset, tmp_path: Path) -> None:
    """Without clipping, a learning rate of 1e30 makes the loss of a later step overflow."""
    trainer = Trainer(recipe(learning_rate=1e30, warmup_steps=0), digits, tmp_path / "run", device="cpu")
    with pytest.raises(TrainingError, match="lower learning_rate"):
        list(trainer.train())
    for network in (trainer.unet, trainer.ema.average):
        assert all(parameter.isfinite().all() for parameter in network.parameters())


def test_learning_rate_warms_up_and_falls_along_half_a_cosine(digits: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(recipe(steps=200, warmup_steps=10, checkpoint_every=1000), digits, tmp_path / "run", device="cpu")
    rates = []
    for trainer.step in range(200):
        rates.append(trainer._learning_rate())
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == pytest.approx(1e-3, rel=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.5e-3)  # half of a half cosine
    assert rates[-1] < 1e-6
