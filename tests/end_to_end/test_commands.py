"""The command line, run in subprocesses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from tests.service import Service, wait_until

RECIPE = """
[data]
source = "digits"

[unet]
block_out_channels = [32]
down_block_types = ["DownBlock2D"]
up_block_types = ["UpBlock2D"]

[training]
steps = 80
batch_size = 16
checkpoint_every = 40
compile = false
"""


def noisemill(*arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "noisemill", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | {"COLUMNS": "200"})
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RECIPE)
    return path


def test_train_stops_at_sigint_resumes_and_is_listed_by_running_service(
    recipe: Path, tiny: Path, tmp_path: Path
) -> None:
    models, runs = tmp_path / "models", tmp_path / "runs"
    shutil.copytree(tiny, models / "tiny")
    service = Service(models, tmp_path / "state")
    (tmp_path / "state").mkdir()
    service.start()
    command = ["train", recipe, "--models", models, "--runs", runs]
    training = subprocess.Popen([sys.executable, "-m", "noisemill", *map(str, command)])
    wait_until(lambda: (runs / "small/metrics.jsonl").exists(), 120)
    training.send_signal(signal.SIGINT)
    assert training.wait(120) in (0, 130)  # 0 if it had already ended
    if training.returncode == 130:
        assert "already holds a run" in noisemill(*command, code=1)
        assert "of 80  loss" in noisemill(*command, "--resume"), "progress lines without a terminal"
    steps = [json.loads(line)["step"] for line in (runs / "small/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 81))
    with Image.open(runs / "small/samples.png") as grid:
        assert grid.size == (8 * 9 - 1, 8 * 9 - 1)
    wait_until(lambda: service.http.get("/models/small").status_code == 200, 30)
    service.finished(service.generate(model="small", steps=5, label="7"))
    assert "exists: replace it with --overwrite" in noisemill(*command, code=1)
    service.close()


def test_sample_writes_npy(tiny: Path, tmp_path: Path) -> None:
    output = noisemill("sample", tiny, "--count", 3, "--steps", 2, "--seed", 5, "--out", tmp_path / "three.npy")
    assert "seed 5" in output
    array = numpy.load(tmp_path / "three.npy")
    assert (array.dtype, array.shape) == (numpy.uint8, (3, 8, 8))


def test_invalid_arguments_name_allowed_values(tiny: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "x")
    assert "1 to 1000" in noisemill("sample", tiny, "--steps", 1001, *out, code=1)
    assert "0 to 9" in noisemill("sample", tiny, "--label", "eleven", *out, code=1)
    assert "less than or equal to 18446744073709551615" in noisemill("sample", tiny, "--seed", 2**64, *out, code=1)
    missing = noisemill("train", "recipes/mnist.toml", "--data-root", tmp_path, "--name", "none", code=1)
    assert "train-images-idx3-ubyte" in missing
    assert str(tmp_path) in missing
    picture = tmp_path / "wide.png"
    Image.new("L", (9, 8)).save(picture)
    assert "8 × 8 pixels, not one of 9 × 8 pixels" in noisemill("sample", tiny, "--image", picture, *out, code=1)
    assert "is a file: name a folder" in noisemill("sample", tiny, "--out", picture, code=1)


def test_serve_without_models_or_state_folder_exits_1(tiny: Path, tmp_path: Path) -> None:
    empty, file = tmp_path / "empty", tmp_path / "file"
    empty.mkdir()
    file.touch()
    for command in ("serve", "models"):
        assert f"no model is in {empty}" in noisemill(command, "--models", empty, code=1)
    assert f"cannot be kept in {file}" in noisemill("serve", "--models", tiny.parent, "--state", file, code=1)
    assert "65535" in noisemill("serve", "--port", 99999, code=2)


@pytest.mark.parametrize("command", ["serve", "app", "worker"])
def test_invalid_setting_exits_1(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISEMILL_KEEP_DAYS", "-1")
    assert "NOISEMILL_KEEP_DAYS='-1': input should be greater than 0" in noisemill(command, code=1)


def test_corrupt_checkpoint_is_reported_and_others_are_served(tiny: Path, tmp_path: Path) -> None:
    models, state = tmp_path / "models", tmp_path / "state"
    state.mkdir()
    shutil.copytree(tiny, models / "valid")
    shutil.copytree(tiny, models / "corrupt")
    weights = models / "corrupt/unet/diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (models / "empty").mkdir()
    service = Service(models, state)
    service.start()
    assert [card["name"] for card in service.http.get("/models").json()["models"]] == ["valid"]
    log = service.log.read_text()
    assert "checkpoint corrupt cannot be served" in log
    assert "checkpoint empty cannot be served" in log
    assert "corrupt" in noisemill("models", "--models", models)
    service.close()
