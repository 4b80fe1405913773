"""The trainer on scikit-learn's digits: it learns, and what interrupts it leaves no trace in what it learns."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from model import checkpoint, data
from model.data import Dataset
from model.sampling.schedule import Schedule
from model.training import run_log
from model.training.recipe import Data, Recipe, Training, automatic
from model.training.run_log import METRICS
from model.training.train import STATE, Trainer, TrainingError

UNET: dict[str, Any] = {
    "block_out_channels": [8, 16],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D"],
    "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    "norm_num_groups": 4,
}
# Checkpoints fall due at steps 6 and 12, and the run ends with one of its own.
SETTINGS = Training(steps=14, batch_size=16, warmup_steps=4, checkpoint_every=6, ema_decay=0.9, compile=False)
RECIPE = Recipe(
    name="tiny",
    data=Data(source="digits"),
    training=SETTINGS,
    schedule=Schedule(num_train_timesteps=20),
    unet=UNET,
)
EXACT = dataclasses.replace(RECIPE, training=dataclasses.replace(SETTINGS, precision="float32", accumulate=2))


def recipe(**training: Any) -> Recipe:
    return dataclasses.replace(RECIPE, training=dataclasses.replace(SETTINGS, **training))


@pytest.fixture(scope="module", autouse=True)
def short_samples() -> Iterator[None]:
    """The grid of samples is part of every checkpoint and of nothing that is compared here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.training.train.SAMPLE_STEPS", 2)
        yield


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """64 images: four batches an epoch, so that 14 steps see the fourth epoch begin."""
    return data.load("digits").select(torch.arange(64))


@pytest.fixture(scope="module")
def whole_run(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp("runs") / "whole"
    torch.set_num_threads(1)
    list(Trainer(RECIPE, digits, run, device="cpu").train())
    return run


def losses(run: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / METRICS).read_text().splitlines()]


def assert_same(run: Path, other: Path) -> None:
    """Bit for bit: losses, weights, their average, moments, and the checkpoint that is served."""
    assert losses(run) == losses(other)
    ours, theirs = load_file(run / STATE), load_file(other / STATE)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different
    digests = [checkpoint.read_card(folder / "checkpoint").digest for folder in (run, other)]
    assert digests[0] == digests[1]


def test_the_loss_falls(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained network's error is the noise's variance, 1; what it learns takes away the better part."""
    learning = recipe(steps=100, warmup_steps=10, learning_rate=1e-2)
    learning = dataclasses.replace(learning, schedule=Schedule())
    trainer = Trainer(learning, digits, tmp_path / "run", device="cpu")
    monkeypatch.setattr(trainer, "checkpoint", lambda: None)
    reports = list(trainer.train())
    assert [report.step for report in reports] == list(range(1, 101))
    taken = [report.loss for report in reports]
    assert taken[0] > 0.9
    assert sum(taken[-30:]) / 30 < 0.45


def test_a_run_leaves_what_it_says(whole_run: Path, digits: Dataset) -> None:
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
    average = load_file(whole_run / STATE)
    for name, tensor in loaded.unet.state_dict().items():
        assert torch.equal(tensor, average[f"ema.{name}"])
    assert (whole_run / "checkpoint" / "figures" / "samples.png").read_bytes() == (
        whole_run / "samples.png"
    ).read_bytes()


def test_colour_photographs_of_a_zip_are_learnt(real_data: Path, tmp_path: Path) -> None:
    """Some of CIFAR-10 as a user would bring them: JPEGs in class folders, and the recipe that `--data` plans."""
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


def test_tensorboard_reads_the_same_numbers(whole_run: Path) -> None:
    reader = EventAccumulator(str(whole_run))
    reader.Reload()
    shown = {event.step: event.value for event in reader.Scalars("loss")}
    assert list(shown) == list(range(1, 15))
    assert list(shown.values()) == pytest.approx(losses(whole_run), rel=1e-6)
    assert {"learning_rate", "images_per_second"} <= set(reader.Tags()["scalars"])


def test_the_same_recipe_gives_the_same_run(whole_run: Path, digits: Dataset, tmp_path: Path) -> None:
    """Whatever the global generator was used for before."""
    torch.randn(17)
    list(Trainer(RECIPE, digits, tmp_path / "run", device="cpu").train())
    assert_same(tmp_path / "run", whole_run)


def test_another_seed_gives_another_run(whole_run: Path, digits: Dataset, tmp_path: Path) -> None:
    list(Trainer(recipe(seed=1), digits, tmp_path / "run", device="cpu").train())
    assert losses(tmp_path / "run") != losses(whole_run)


def test_min_snr_weighs_the_loss(digits: Dataset, tmp_path: Path) -> None:
    """Nothing is weighed where gamma is above every SNR; where it is not, steps with little noise count less."""
    first = {
        gamma: next(Trainer(recipe(min_snr_gamma=gamma), digits, tmp_path / str(gamma), device="cpu").train()).loss
        for gamma in (None, 1e9, 5.0, 1.0)
    }
    assert first[1e9] == pytest.approx(first[None], rel=1e-6)
    assert 0 < first[1.0] < first[5.0] < first[1e9]


def test_a_batch_in_parts_learns_what_the_whole_does(digits: Dataset, tmp_path: Path) -> None:
    reports = {
        parts: list(Trainer(recipe(accumulate=parts), digits, tmp_path / str(parts), device="cpu").train())
        for parts in (1, 3)
    }
    for whole, parted in zip(reports[1], reports[3], strict=True):
        assert parted.loss == pytest.approx(whole.loss, rel=2e-3)
    assert reports[1][-1].loss < 0.95 * reports[1][0].loss


def test_float16_is_scaled_and_resumes(digits: Dataset, tmp_path: Path) -> None:
    """Its gradients would vanish; the scale is part of the state."""
    half = recipe(precision="fp16", steps=6)
    straight, stopped = Trainer(half, digits, tmp_path / "a", device="cpu"), tmp_path / "b"
    expected = [report.loss for report in straight.train()]
    assert straight.scaler.get_scale() > 1
    first = Trainer(half, digits, stopped, device="cpu")
    reports = first.train()
    taken = [next(reports).loss for _ in range(3)]
    reports.close()
    first.checkpoint()
    second = Trainer(half, digits, stopped, device="cpu")
    second.resume()
    assert [*taken, *(report.loss for report in second.train())] == expected


def test_epochs_are_counted_in_whole_batches(digits: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(recipe(steps=None, epochs=2), digits, tmp_path, device="cpu")
    assert trainer.steps == 2 * (64 // 16)


def test_the_best_checkpoint_is_kept(digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That whose steps since the checkpoint before had the least loss, here planned."""
    trainer = Trainer(recipe(keep_best=True, checkpoint_every=2, steps=6), digits, tmp_path, device="cpu")
    monkeypatch.setattr(run_log, "losses", lambda run: [0.5, 0.4, 0.2, 0.3, 0.9, 0.8][: trainer.step])
    list(trainer.train())
    assert checkpoint.load(trainer.result).card.training["steps"] == 4
    assert checkpoint.load(tmp_path / "checkpoint").card.training["steps"] == 6
    again = Trainer(trainer.recipe, digits, tmp_path, device="cpu")
    again.resume()
    assert again.best == trainer.best == 0.25


PROCESS = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_train import EXACT, Trainer, data
from model.hardware import join_processes
import dataclasses
device, first = join_processes("cpu")
whole = data.load("digits")
digits = dataclasses.replace(whole, images=whole.images[:64], labels=whole.labels[:64])
list(Trainer(EXACT, digits, Path(sys.argv[2]), device=device).train())
torch.distributed.destroy_process_group()
"""


def test_two_processes_learn_what_one_does(digits: Dataset, tmp_path: Path) -> None:
    """With real processes that torchrun starts, in float32, where only the order of sums differs."""
    (tmp_path / "process.py").write_text(PROCESS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(tmp_path / "process.py"), str(Path(__file__).parent), str(tmp_path / "two")]
    subprocess.run([*torchrun, *arguments], check=True, timeout=300)
    list(Trainer(EXACT, digits, tmp_path / "one", device="cpu").train())
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    one, two = (load_file(tmp_path / run / STATE) for run in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("stops", [[6], [7, 13]], ids=str)
def test_an_interrupted_run_ends_the_same(stops: list[int], whole_run: Path, digits: Dataset, tmp_path: Path) -> None:
    """Stopped after some step and resumed, once or twice: on a checkpoint, after one, before the end."""
    run = tmp_path / "run"
    for times, stop in enumerate(stops):
        trainer = Trainer(RECIPE, digits, run, device="cpu")
        if times:
            trainer.resume()
        for report in trainer.train():
            if report.step == stop:
                break
    last = Trainer(RECIPE, digits, run, device="cpu")
    last.resume()
    assert last.step == stops[-1] // 6 * 6
    list(last.train())
    assert_same(run, whole_run)


SCRIPT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_train import RECIPE, Trainer, data
import dataclasses
whole = data.load("digits")
digits = dataclasses.replace(whole, images=whole.images[:64], labels=whole.labels[:64])
for report in Trainer(RECIPE, digits, Path(sys.argv[2]), device="cpu").train():
    print(report.step, flush=True)
    if report.step == 9:
        sys.stdin.read()
"""


def test_a_killed_run_ends_the_same(whole_run: Path, digits: Dataset, tmp_path: Path) -> None:
    """SIGKILL three steps after a checkpoint: nothing is flushed, nothing is closed."""
    run = tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(run)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout is not None
        assert [int(process.stdout.readline()) for _ in range(9)] == list(range(1, 10))
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    trainer = Trainer(RECIPE, digits, run, device="cpu")
    trainer.resume()
    assert trainer.step == 6
    list(trainer.train())
    assert_same(run, whole_run)


class Killed(BaseException):
    """Stands for a signal, at a moment that a signal would be hard to aim at."""


@pytest.mark.parametrize("moment", ["checkpoint.save", "checkpoint.write_atomically"])
def test_killed_while_it_saves_a_run_ends_the_same(
    moment: str, whole_run: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in the last checkpoint of all, after which there are no steps left to take."""

    def killed(*_: object, **__: object) -> None:
        raise Killed

    run = tmp_path / "run"
    trainer = Trainer(RECIPE, digits, run, device="cpu").train()
    for report in trainer:
        if report.step == 13:
            break
    with monkeypatch.context() as patch, pytest.raises(Killed):  # noqa: PT012
        patch.setattr(f"model.training.train.{moment}", killed)
        next(trainer)
    resumed = Trainer(RECIPE, digits, run, device="cpu")
    resumed.resume()
    list(resumed.train())
    assert_same(run, whole_run)


def test_a_run_without_labels(digits: Dataset, tmp_path: Path) -> None:
    unlabelled = dataclasses.replace(digits, labels=None, classes=())
    list(Trainer(recipe(steps=2), unlabelled, tmp_path / "run", device="cpu").train())
    loaded = checkpoint.load(tmp_path / "run" / "checkpoint")
    assert loaded.unet.config.num_class_embeds is None
    assert loaded.null_class is None


def test_every_image_once_an_epoch(tmp_path: Path) -> None:
    """What does not fill a batch waits for the next epoch's order, which is another one."""
    numbered = torch.arange(35, dtype=torch.uint8).view(35, 1, 1, 1).expand(35, 1, 8, 8)
    trainer = Trainer(RECIPE, Dataset("numbers", numbered, None, ()), tmp_path / "run", device="cpu")
    epochs = []
    for first in (0, 2):
        seen = []
        for trainer.step in (first, first + 1):
            x0, labels = trainer._batch()
            seen += ((x0[:, 0, 0, 0] + 1) * 127.5).round().int().tolist()
            assert labels is None
        assert len(set(seen)) == len(seen) == 32
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_the_class_is_dropped_as_often_as_asked(tmp_path: Path) -> None:
    """Ho & Salimans 2022: a share of the images is trained under the null class, the last one."""
    whole = data.load("digits")
    dropping = recipe(batch_size=1024, class_dropout=0.25)
    trainer = Trainer(dropping, whole, tmp_path / "run", device="cpu")
    torch.manual_seed(0)
    _, labels = trainer._batch()
    assert labels is not None
    share = (labels == 10).float().mean().item()
    assert abs(share - 0.25) < 5 * (0.25 * 0.75 / 1024) ** 0.5


def test_another_recipe_does_not_resume(whole_run: Path, digits: Dataset) -> None:
    other = Trainer(recipe(learning_rate=2e-3), digits, whole_run, device="cpu")
    with pytest.raises(TrainingError, match="another recipe"):
        other.resume()


def test_nothing_to_resume_is_said(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        Trainer(RECIPE, digits, tmp_path / "run", device="cpu").resume()
    (tmp_path / STATE).write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="nothing to resume"):
        Trainer(RECIPE, digits, tmp_path, device="cpu").resume()


def test_fewer_images_than_a_batch_are_refused(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="64 images, fewer than a batch of 65"):
        Trainer(recipe(batch_size=65), digits, tmp_path, device="cpu")
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_no_number_stops_the_run(digits: Dataset, tmp_path: Path) -> None:
    diverging = recipe(learning_rate=1e30, warmup_steps=0, grad_clip=1e30)
    with pytest.raises(TrainingError, match="lower learning_rate"):
        list(Trainer(diverging, digits, tmp_path / "run", device="cpu").train())


def test_the_learning_rate_warms_up_and_falls_to_nothing(digits: Dataset, tmp_path: Path) -> None:
    trainer = Trainer(recipe(steps=200, warmup_steps=10, checkpoint_every=1000), digits, tmp_path / "run", device="cpu")
    rates = []
    for trainer.step in range(200):
        rates.append(trainer._learning_rate())
    assert rates[:10] == sorted(rates[:10])
    assert rates[9] == pytest.approx(1e-3, rel=0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.5e-3)  # half of a half cosine
    assert rates[-1] < 1e-6
