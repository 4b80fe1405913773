"""Checkpoints are added, changed and removed while the worker runs; bad ones are refused, the others served."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
import torch
from structlog.typing import EventDict

import worker.catalog
from model import checkpoint
from model.sampling.samplers import SAMPLERS
from tests.worker.conftest import change_weights
from worker.catalog import Catalog, load_model


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A folder of models that holds one, `good`."""
    shutil.copytree(tiny, tmp_path / "good")
    return tmp_path


@pytest.fixture
def catalog(folder: Path) -> Catalog:
    return Catalog(folder, device=torch.device("cpu"), slots=8, max_count=50)


def names(catalog: Catalog) -> list[str]:
    return [card.name for card in catalog.cards]


def scanned(catalog: Catalog) -> list[EventDict]:
    """The log of one scan."""
    with structlog.testing.capture_logs() as entries:
        catalog.scan()
    return entries


def refused(catalog: Catalog) -> dict[str, str]:
    return {entry["model"]: entry["reason"] for entry in scanned(catalog) if entry["log_level"] == "error"}


def test_card_describes_the_checkpoint(catalog: Catalog, folder: Path) -> None:
    catalog.scan()
    [card] = catalog.cards
    assert (card.name, card.digest) == ("good", checkpoint.read_card(folder / "good").digest)
    assert (card.image_size, card.channels, card.num_train_timesteps) == (8, 1, 1000)
    assert (card.classes, card.null_class) == (list("0123456789"), 10)
    assert (card.samplers, card.max_count) == (list(SAMPLERS), 50)
    assert card.data == {"source": "digits"}
    model = catalog.get("good")
    assert model is not None
    assert model.shape == (1, 8, 8)
    assert model.card.build == model.network.build


def test_get_of_an_unknown_model_is_none(catalog: Catalog) -> None:
    catalog.scan()
    assert catalog.get("other") is None


def edit(name: str, **values: object) -> Callable[[Path], None]:
    """Changes values in one of a checkpoint's JSON files."""

    def run(path: Path) -> None:
        (path / name).write_text(json.dumps(json.loads((path / name).read_text()) | values))

    return run


def cut(path: Path) -> None:
    weights = path / checkpoint.WEIGHTS
    os.truncate(weights, weights.stat().st_size // 2)


def flip(path: Path) -> None:
    """Flips one bit of the weights."""
    data = bytearray((path / checkpoint.WEIGHTS).read_bytes())
    data[-1] ^= 1
    (path / checkpoint.WEIGHTS).write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (cut, ""),
        (flip, "digest"),
        (lambda path: (path / checkpoint.WEIGHTS).write_bytes(b""), ""),
        (lambda path: (path / checkpoint.WEIGHTS).unlink(), "No such file"),
        (lambda path: (path / checkpoint.CARD).unlink(), "No such file"),
        (lambda path: (path / checkpoint.SCHEDULER_CONFIG).unlink(), "No such file"),
        (lambda path: (path / checkpoint.UNET_CONFIG).write_text("{"), ""),
        (lambda path: (path / checkpoint.CARD).write_text("[]"), ""),
        (lambda path: (path / checkpoint.CARD).write_bytes(b"\xff"), ""),
        (edit(checkpoint.CARD, classes=[]), "name them in card.json"),
        (edit(checkpoint.UNET_CONFIG, act_fn="relu"), "act_fn='relu'"),
        (edit(checkpoint.UNET_CONFIG, block_out_channels=[32, 96]), ""),
        (edit(checkpoint.UNET_CONFIG, block_out_channels=None), ""),
        (edit(checkpoint.SCHEDULER_CONFIG, thresholding=True), "thresholding=True"),
        (edit(checkpoint.SCHEDULER_CONFIG, beta_schedule="unheard of"), "unheard of"),
        (edit(checkpoint.CARD, classes=7), "classes must be"),
        (edit(checkpoint.CARD, classes=[0, 1]), "classes must be"),
        (edit(checkpoint.CARD, thresholding="clip"), "thresholding must be one of static, dynamic, none"),
        (edit(checkpoint.CARD, data=None), "data must be"),
        (edit(checkpoint.CARD, sampler="euler"), "sampler must be one of ddpm, "),
        (edit(checkpoint.CARD, steps=5000), "steps must be null or 1 to 1000, not 5000"),
        (edit(checkpoint.CARD, colour="blue"), "colour"),
    ],
)
def test_bad_checkpoint_is_refused_by_name_and_the_others_are_served(
    catalog: Catalog, folder: Path, harm: Callable[[Path], None], reason: str
) -> None:
    shutil.copytree(folder / "good", folder / "bad")
    harm(folder / "bad")
    why = refused(catalog)
    assert list(why) == ["bad"]
    assert "bad" in why["bad"]
    assert reason in why["bad"]
    assert names(catalog) == ["good"]
    assert catalog.get("bad") is None
    assert refused(catalog) == {}, "logged once, until its files change"


def test_folder_name_that_is_not_unicode_is_refused(catalog: Catalog, folder: Path) -> None:
    shutil.copytree(folder / "good", os.fsdecode(os.fsencode(folder) + b"/bad\xff"))
    why = refused(catalog)
    assert list(why) == ["bad?"]
    assert "bad?" in why["bad?"]
    assert names(catalog) == ["good"]


def test_unexpected_error_refuses_one_model_and_serves_the_others(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "good", folder / "bad")
    figures = worker.catalog._figures

    def fails(path: Path) -> dict[str, bytes]:
        if path.name == "bad":
            raise ZeroDivisionError("nobody expects it")
        return figures(path)

    monkeypatch.setattr(worker.catalog, "_figures", fails)
    assert refused(catalog) == {"bad": "ZeroDivisionError: nobody expects it"}
    assert names(catalog) == ["good"]
    assert refused(catalog) == {}, "logged once, until its files change"


@pytest.mark.parametrize(
    "late", [checkpoint.CARD, checkpoint.SCHEDULER_CONFIG, checkpoint.UNET_CONFIG, checkpoint.WEIGHTS]
)
def test_copy_in_progress_is_served_once_it_is_complete(catalog: Catalog, folder: Path, late: str) -> None:
    shutil.copytree(folder / "good", folder / "copy")
    (folder / "copy" / late).rename(folder / "late")
    assert list(refused(catalog)) == ["copy"]
    (folder / "late").rename(folder / "copy" / late)
    catalog.scan()
    assert names(catalog) == ["copy", "good"]


def test_new_model_is_served_from_the_next_scan(catalog: Catalog, folder: Path) -> None:
    catalog.scan()
    shutil.copytree(folder / "good", folder / "another")
    assert names(catalog) == ["good"]
    catalog.scan()
    assert names(catalog) == ["another", "good"]


def test_unchanged_checkpoint_is_not_read_again(catalog: Catalog) -> None:
    catalog.scan()
    before = catalog.get("good")
    assert scanned(catalog) == []
    assert catalog.get("good") is before


def test_replaced_checkpoint_is_a_new_model_and_the_old_one_stays_usable(catalog: Catalog, folder: Path) -> None:
    catalog.scan()
    old = catalog.get("good")
    assert old is not None
    change_weights(folder / "good")
    catalog.scan()
    new = catalog.get("good")
    assert new is not None
    assert new.card.digest == checkpoint.read_card(folder / "good").digest != old.card.digest
    assert not torch.equal(old.checkpoint.unet.conv_in.weight, new.checkpoint.unet.conv_in.weight)


def test_new_metrics_change_the_card_but_not_the_digest(catalog: Catalog, folder: Path) -> None:
    catalog.scan()
    [before] = catalog.cards
    edit(checkpoint.CARD, metrics={"recognised": 0.99})(folder / "good")
    catalog.scan()
    [after] = catalog.cards
    assert after.metrics == {"recognised": 0.99}
    assert after.digest == before.digest


def test_figures_are_read_again_when_they_change(catalog: Catalog, folder: Path) -> None:
    figures = folder / "good" / checkpoint.FIGURES
    figures.mkdir()
    (figures / "loss.png").write_bytes(b"a curve")
    (figures / "notes.txt").write_bytes(b"no picture")
    (figures / "huge.gif").write_bytes(bytes(5 * 2**20))
    catalog.scan()
    [card] = catalog.cards
    assert list(card.figures) == ["loss.png"]
    assert catalog.figures == {card.figures["loss.png"]: b"a curve"}
    (figures / "loss.png").write_bytes(b"a longer curve")
    catalog.scan()
    assert list(catalog.figures.values()) == [b"a longer curve"]


def test_unreadable_figure_is_left_out_and_the_model_is_served(catalog: Catalog, folder: Path) -> None:
    figures = folder / "good" / checkpoint.FIGURES
    (figures / "folder.png").mkdir(parents=True)
    (figures / "dangling.png").symlink_to("nowhere")
    Path(os.fsdecode(os.fsencode(figures) + b"/not-unicode\xff.png")).write_bytes(b"a curve")
    (figures / "loss.png").write_bytes(b"a curve")
    left_out = [entry["figure"] for entry in scanned(catalog) if entry["log_level"] == "warning"]
    assert left_out == ["dangling.png", "folder.png", "not-unicode?.png"]
    assert list(catalog.cards[0].figures) == ["loss.png"]


def test_new_figure_keeps_the_loaded_network(catalog: Catalog, folder: Path) -> None:
    catalog.scan()
    before = catalog.get("good")
    (folder / "good" / checkpoint.FIGURES).mkdir()
    (folder / "good" / checkpoint.FIGURES / "loss.png").write_bytes(b"a curve")
    catalog.scan()
    after = catalog.get("good")
    assert before is not None
    assert after is not None
    assert after.card.figures
    assert after.network is before.network


def test_model_whose_files_are_damaged_is_served_from_memory(catalog: Catalog, folder: Path) -> None:
    catalog.scan()
    served = catalog.get("good")
    cut(folder / "good")
    assert list(refused(catalog)) == ["good"]
    assert catalog.get("good") is served


def test_removed_model_is_no_longer_served(catalog: Catalog, folder: Path) -> None:
    shutil.copytree(folder / "good", folder / "other")
    catalog.scan()
    shutil.rmtree(folder / "good")
    catalog.scan()
    assert names(catalog) == ["other"]


def test_hidden_folders_of_unfinished_saves_are_skipped(catalog: Catalog, folder: Path) -> None:
    for hidden in (".good.new-17", ".good.old-17"):
        shutil.copytree(folder / "good", folder / hidden)
        cut(folder / hidden)
    (folder / "notes.txt").write_text("not a model")
    assert refused(catalog) == {}
    assert names(catalog) == ["good"]


def test_empty_or_missing_folder_has_no_models(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        empty = Catalog(path, device=torch.device("cpu"), slots=8, max_count=50)
        empty.scan()
        assert empty.cards == []


def test_load_model_gives_the_catalogs_card(folder: Path, catalog: Catalog) -> None:
    catalog.scan()
    assert load_model(folder / "good", torch.device("cpu"), slots=8, max_count=50).card == catalog.cards[0]
