"""Training in several processes that torchrun starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from model.data import Dataset
from model.training.state import STATE
from model.training.train import Trainer
from tests.model.tiny_training import losses, recipe

pytestmark = pytest.mark.usefixtures("short_samples")

ROOT = Path(__file__).parents[2]
PROCESS = """
import json
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from model.hardware import join_processes
from model.training.train import Trainer
from tests.model.tiny_training import few_digits, recipe
torch.set_num_threads(1)
device, first = join_processes("cpu")
list(Trainer(recipe(**json.loads(sys.argv[3])), few_digits(), Path(sys.argv[2]), device=device).train())
torch.distributed.destroy_process_group()
"""


def run_two_processes(run: Path, settings: str) -> subprocess.CompletedProcess[str]:
    script = run.with_name("process.py")
    script.write_text(PROCESS)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, str(script), str(ROOT), str(run), settings]
    return subprocess.run(command, check=False, timeout=300, text=True, stderr=subprocess.PIPE)


def test_two_processes_train_like_one(digits: Dataset, tmp_path: Path) -> None:
    """In float32, where only the order of summation differs."""
    result = run_two_processes(tmp_path / "two", '{"precision": "float32", "accumulate": 2}')
    assert result.returncode == 0, result.stderr
    list(Trainer(recipe(precision="float32", accumulate=2), digits, tmp_path / "one", device="cpu").train())
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4)
    one, two = (load_file(tmp_path / run / STATE) for run in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, atol=1e-4, rtol=1e-3)


def test_accumulate_above_images_per_process_is_refused(tmp_path: Path) -> None:
    """Each of two processes takes 8 images of a batch of 16: a ninth part would be empty, and its mean NaN."""
    result = run_two_processes(tmp_path / "run", '{"accumulate": 9}')
    assert result.returncode != 0
    assert "TrainingError: accumulate is 9" in result.stderr
    assert "set accumulate to at most 8" in result.stderr
    assert not (tmp_path / "run").exists()
