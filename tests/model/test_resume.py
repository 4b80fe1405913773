"""Resuming: a training that was interrupted ends with the bits of one that was not."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from model import checkpoint
from model.data import Dataset
from model.training.recipe import Training
from model.training.state import STATE
from model.training.train import Trainer, TrainingError
from tests.model.tiny_training import RECIPE, losses, recipe

pytestmark = pytest.mark.usefixtures("short_samples")


def assert_same(run: Path, other: Path) -> None:
    """Bit for bit: losses, weights, their average, moments, and the checkpoint that is served."""
    assert losses(run) == losses(other)
    ours, theirs = load_file(run / STATE), load_file(other / STATE)
    assert ours.keys() == theirs.keys()
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert not different
    digests = [checkpoint.read_card(folder / "checkpoint").digest for folder in (run, other)]
    assert digests[0] == digests[1]


def test_same_recipe_gives_same_run_for_any_state_of_the_global_generator(
    whole_run: Path, digits: Dataset, tmp_path: Path
) -> None:
    torch.randn(17)
    list(Trainer(RECIPE, digits, tmp_path / "run", device="cpu").train())
    assert_same(tmp_path / "run", whole_run)


@pytest.mark.parametrize("stops", [[6], [7, 13]], ids=str)
def test_stopped_and_resumed_run_equals_uninterrupted_run(
    stops: list[int], whole_run: Path, digits: Dataset, tmp_path: Path
) -> None:
    """Stopped after a step, once or twice: at a checkpoint, after one, before the end."""
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
from model.training.train import Trainer
from tests.model.tiny_training import RECIPE, few_digits
torch.set_num_threads(1)
for report in Trainer(RECIPE, few_digits(), Path(sys.argv[1]), device="cpu").train():
    print(report.step, flush=True)
    if report.step == 9:
        sys.stdin.read()
"""


def test_run_killed_by_sigkill_and_resumed_equals_uninterrupted_run(
    whole_run: Path, digits: Dataset, tmp_path: Path
) -> None:
    """SIGKILL three steps after a checkpoint: nothing is flushed, nothing is closed."""
    run = tmp_path / "run"
    command = [sys.executable, "-c", SCRIPT, str(run)]
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
    """Simulates a signal at a moment that a real signal would hit only by chance."""


@pytest.mark.parametrize("moment", ["checkpoint.save", "checkpoint.write_atomically"])
def test_run_killed_while_saving_and_resumed_equals_uninterrupted_run(
    moment: str, whole_run: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last checkpoint of the run, after which no steps remain."""

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


def test_float16_loss_scale_is_part_of_the_state(digits: Dataset, tmp_path: Path) -> None:
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


def test_resume_with_another_recipe_is_refused(whole_run: Path, digits: Dataset) -> None:
    other = Trainer(recipe(learning_rate=2e-3), digits, whole_run, device="cpu")
    with pytest.raises(TrainingError, match="another recipe"):
        other.resume()


def test_resume_without_or_with_damaged_state_is_refused(digits: Dataset, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="nothing to resume"):
        Trainer(RECIPE, digits, tmp_path / "run", device="cpu").resume()
    (tmp_path / STATE).write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="nothing to resume"):
        Trainer(RECIPE, digits, tmp_path, device="cpu").resume()


# Metadata of a state that version 0.1 wrote for RECIPE, when a recipe was stored as its repr.
REPR_OF_0_1 = (
    "Recipe(name='tiny', data=Data(source='digits', size=None), training=Training(steps=14, epochs=None, "
    "batch_size=16, accumulate=1, learning_rate=0.001, learning_rate_schedule='cosine', warmup_steps=4, "
    "weight_decay=0.0, grad_clip=1.0, ema_decay=0.9, class_dropout=0.1, min_snr_gamma=None, precision='auto', seed=0, "
    "checkpoint_every=6, keep_best=False, compile=False), schedule=Schedule(num_train_timesteps=20, beta_start=0.0001, "
    "beta_end=0.02, beta_schedule='linear', prediction_type='epsilon', rescale_betas_zero_snr=False), "
    "unet={'block_out_channels': [8, 16], 'down_block_types': ['DownBlock2D', 'AttnDownBlock2D'], "
    "'up_block_types': ['AttnUpBlock2D', 'UpBlock2D'], 'norm_num_groups': 4}, guidance_scale=1.0, sampler='ddpm', "
    "sampling_steps=None)"
)


def stopped_run(run: Path, digits: Dataset, recipe_metadata: str | None = None) -> Path:
    """A run stopped at its checkpoint of step 6, with `recipe` in its metadata if given."""
    for report in Trainer(RECIPE, digits, run, device="cpu").train():
        if report.step == 6:
            break
    if recipe_metadata is not None:
        with safe_open(run / STATE, "pt") as file:
            metadata = file.metadata() | {"recipe": recipe_metadata}
        save_file(load_file(run / STATE), run / STATE, metadata)
    return run


# Training settings of a later version, which have one more field.
LaterTraining = dataclasses.make_dataclass(
    "Training", [("augment", bool, dataclasses.field(default=False))], bases=(Training,), frozen=True, kw_only=True
)


@pytest.mark.parametrize("stored", [None, REPR_OF_0_1], ids=["as JSON", "as repr of 0.1"])
def test_run_resumes_after_recipe_gained_a_field(
    stored: str | None, whole_run: Path, digits: Dataset, tmp_path: Path
) -> None:
    run = stopped_run(tmp_path / "run", digits, stored)
    later = dataclasses.replace(RECIPE, training=LaterTraining(**dataclasses.asdict(RECIPE.training)))
    trainer = Trainer(later, digits, run, device="cpu")
    trainer.resume()
    list(trainer.train())
    assert_same(run, whole_run)
    changed = dataclasses.replace(later, training=dataclasses.replace(later.training, augment=True))
    with pytest.raises(TrainingError, match="another recipe"):
        Trainer(changed, digits, run, device="cpu").resume()


@pytest.mark.parametrize(
    "stored",
    [
        REPR_OF_0_1.replace("learning_rate=0.001", "learning_rate=0.002"),
        REPR_OF_0_1.replace("source='digits'", "source='mnist'"),
        REPR_OF_0_1.replace("beta_end=0.02", "beta_end=0.03"),
        REPR_OF_0_1.replace("[8, 16]", "[8, 32]"),
        REPR_OF_0_1.replace("seed=0", "momentum=0"),
        REPR_OF_0_1.replace("seed=0", "seed=print(0)"),
        REPR_OF_0_1[:-1],
        "{",
    ],
)
def test_state_of_another_recipe_is_refused(stored: str, digits: Dataset, tmp_path: Path) -> None:
    run = stopped_run(tmp_path / "run", digits, stored)
    with pytest.raises(TrainingError, match="another recipe"):
        Trainer(RECIPE, digits, run, device="cpu").resume()
