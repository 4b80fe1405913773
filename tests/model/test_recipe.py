"""Recipes: the shipped ones are valid, and errors name the field."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.data import Dataset, named
from model.networks.unet import UNet
from model.training.recipe import Recipe, RecipeError, automatic

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
MINIMAL = '[data]\nsource = "digits"\n[training]\nsteps = 10\n'


def written(path: Path, text: str) -> Path:
    file = path / "mine.toml"
    file.write_text(text)
    return file


def grey(size: int, classes: int, count: int = 2) -> Dataset:
    names = tuple(str(i) for i in range(classes))
    labels = torch.zeros(count, dtype=torch.int64) if classes else None
    return Dataset("grey", torch.zeros(count, 1, size, size, dtype=torch.uint8), labels, names)


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_shipped_recipes_are_valid(path: Path) -> None:
    recipe = Recipe.read(path)
    assert recipe.name == path.stem
    assert recipe.data.source in named.SOURCES
    sizes = {"digits": 8, "mnist": 28, "fashion-mnist": 28, "cifar10": 32}
    config = recipe.unet_config(grey(recipe.data.size or sizes[recipe.data.source], classes=10))
    with torch.device("meta"):
        UNet(config)


def test_minimal_recipe_has_defaults(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, MINIMAL))
    assert recipe.name == "mine"
    assert recipe.data.source == "digits"
    assert recipe.data.size is None
    assert recipe.training.steps == 10
    assert recipe.schedule.num_train_timesteps == 1000
    assert recipe.guidance_scale == 1.0
    assert recipe.unet == {}


def test_network_size_channels_and_classes_come_from_the_data(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, MINIMAL + "[unet]\nblock_out_channels = [32, 64, 96]\n"))
    config = recipe.unet_config(grey(16, classes=3))
    assert config.sample_size == 16
    assert config.in_channels == config.out_channels == 1
    assert config.num_class_embeds == 4  # three classes and the null class
    assert config.block_out_channels == (32, 64, 96)
    assert recipe.unet_config(grey(16, classes=0)).num_class_embeds is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (MINIMAL + "momentum = 0.9\n", "'momentum'"),
        (MINIMAL + "[optimiser]\nlr = 1\n", "'optimiser'"),
        ('[data]\nsource = "digits"\nsise = 8\n[training]\nsteps = 1\n', "'sise'"),
        (MINIMAL + "[schedule]\ngamma = 1\n", "'gamma'"),
        (MINIMAL + '[schedule]\nprediction_type = "flow"\n', "'flow'"),
        (MINIMAL + "[schedule]\nbeta_end = 2.0\n", "beta"),
        (MINIMAL.replace("10", "0"), "steps"),
        (MINIMAL.replace("10", '"many"'), "str"),
        (MINIMAL + "batch_size = 0\n", "batch_size"),
        ('sampler = "euler"\n' + MINIMAL, "'euler'"),
        ("sampling_steps = 1001\n" + MINIMAL, "1 to 1000"),
        (MINIMAL + "epochs = 2\n", "either steps or epochs"),
        (MINIMAL.replace("steps = 10", ""), "either steps or epochs"),
        (MINIMAL + "accumulate = 65\n", "accumulate"),
        (MINIMAL + 'precision = "int8"\n', "'int8'"),
        (MINIMAL + 'learning_rate_schedule = "step"\n', "'step'"),
        (MINIMAL + "checkpoint_every = 0\n", "checkpoint_every"),
        (MINIMAL + "class_dropout = 1.0\n", "class_dropout"),
        (MINIMAL + "min_snr_gamma = 0.0\n", "min_snr_gamma"),
        (
            MINIMAL
            + 'min_snr_gamma = 5.0\n[schedule]\nprediction_type = "v_prediction"\nrescale_betas_zero_snr = true\n',
            "min_snr_gamma",
        ),
        ("[training]\nsteps = 1\n", "source"),
        ('[data]\nsource = "digits"\n', "steps"),
        ('data = "mnist"\n[training]\nsteps = 1\n', "Data"),
        ("[data\n", "line 1"),
    ],
)
def test_invalid_field_is_named(text: str, named: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=named) as caught:
        Recipe.read(written(tmp_path, text))
    assert "mine.toml" in str(caught.value)


def test_unknown_field_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"learning_rate.*weight_decay"):
        Recipe.read(written(tmp_path, MINIMAL + "momentum = 0.9\n"))


def test_missing_recipe_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"absent\.toml"):
        Recipe.read(tmp_path / "absent.toml")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[unet]\nwidth = 3\n", "width"),
        ("[unet]\nsample_size = 3\n", "sample_size"),  # comes from the data
        ('[unet]\ndown_block_types = ["A", "B", "C"]\n', "'A'"),
        ("[unet]\nnorm_num_groups = 5\n", "norm_num_groups=5"),
    ],
)
def test_invalid_unet_field_is_named(text: str, named: str, tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, MINIMAL + text))
    with pytest.raises(RecipeError, match=named) as caught:
        recipe.unet_config(grey(8, classes=10))
    assert "[unet]" in str(caught.value)


def test_image_size_that_cannot_be_halved_is_named(tmp_path: Path) -> None:
    recipe = Recipe.read(written(tmp_path, MINIMAL))
    with pytest.raises(RecipeError, match="sample_size 9"):
        recipe.unet_config(grey(9, classes=10))


@pytest.mark.parametrize(
    ("size", "widths", "coarsest"),
    [(8, (32, 64), 4), (16, (32, 64), 8), (28, (32, 64, 128), 7), (32, (32, 64, 128), 8), (64, (32, 64, 128, 128), 8)],
)
def test_automatic_recipe_fits_the_image_size(size: int, widths: tuple[int, ...], coarsest: int) -> None:
    data = grey(size, classes=3, count=100)
    recipe = automatic("mine", "mine.zip", size, data, "cpu")
    config = recipe.unet_config(data)
    assert config.block_out_channels == widths
    assert config.num_class_embeds == 4
    assert size // 2 ** (len(widths) - 1) == coarsest
    assert recipe.guidance_scale > 1
    assert UNet(config)(torch.zeros(1, 1, size, size), torch.tensor([0]), torch.tensor([3])).shape[-1] == size


def test_automatic_recipe_takes_fewer_epochs_for_more_images() -> None:
    def epochs(count: int) -> float:
        training = automatic("mine", "mine.zip", None, grey(8, classes=0, count=count), "cpu").training
        return training.steps * training.batch_size / count

    assert epochs(16) > epochs(1000) > epochs(20_000) > epochs(100_000) > 5


def test_automatic_recipe_refuses_too_few_images_and_odd_sizes() -> None:
    with pytest.raises(RecipeError, match="holds 15 images: at least 16 are needed"):
        automatic("mine", "mine", None, grey(8, classes=0, count=15), "cpu")
    with pytest.raises(RecipeError, match="give --size 28"):
        automatic("mine", "mine", None, grey(27, classes=0, count=16), "cpu")
