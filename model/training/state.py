"""The resume state: weights, their average, the optimiser's moments and the run's counters, in one safetensors file."""

from __future__ import annotations

import ast
import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from model.sampling.schedule import Schedule
from model.training.recipe import Data, Recipe, Training

STATE = "state.safetensors"
RECIPE_CLASSES = {kind.__name__: kind for kind in (Recipe, Data, Training, Schedule)}


def read(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a state file. Raises OSError or SafetensorError."""
    with safe_open(path, "pt", device=str(device)) as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118 (not a dict)


def collect(unet: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that a resume needs, by name."""
    state = {f"unet.{name}": tensor for name, tensor in unet.state_dict().items()}
    state |= {f"ema.{name}": tensor for name, tensor in average.state_dict().items()}
    for i, parameter in enumerate(unet.parameters()):
        state |= {f"optimizer.{i}.{name}": value for name, value in optimizer.state[parameter].items()}
    return {name: tensor.contiguous() for name, tensor in state.items()}


def restore(tensors: dict[str, Tensor], unet: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Restores the tensors of `collect`."""
    unet.load_state_dict(_with_prefix(tensors, "unet."))
    average.load_state_dict(_with_prefix(tensors, "ema."))
    for i, parameter in enumerate(unet.parameters()):
        # The fused optimiser walks memory, so moments need the memory format of the weights: channels last.
        optimizer.state[parameter] = {
            name: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            for name, value in _with_prefix(tensors, f"optimizer.{i}.").items()
        }


def recipe_json(recipe: Recipe) -> str:
    """A recipe as JSON, without fields at their default, so that a field added later does not break a resume."""
    return json.dumps(_changed_fields(recipe))


def is_same_recipe(saved: str, recipe: Recipe) -> bool:
    """Whether the `recipe` of a state's metadata describes the same training."""
    try:
        # Version 0.1 stored repr(recipe).
        text = recipe_json(_parse_repr(saved)) if saved.startswith("Recipe(") else saved
        return bool(json.loads(text) == json.loads(recipe_json(recipe)))
    except (ValueError, TypeError, KeyError, SyntaxError):
        return False


def _changed_fields(config: Any) -> dict[str, Any]:
    """The fields of a dataclass, and of dataclasses in it, that are not at their default."""
    changed = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value != default:
            changed[field.name] = _changed_fields(value) if dataclasses.is_dataclass(value) else value
    return changed


def _parse_repr(text: str) -> Recipe:
    """The recipe that printed as `text`, without eval: constructor calls of RECIPE_CLASSES and literals."""

    def build(node: ast.expr) -> Any:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            arguments = {str(keyword.arg): build(keyword.value) for keyword in node.keywords}
            return RECIPE_CLASSES[node.func.id](**arguments)
        return ast.literal_eval(node)

    recipe: Recipe = build(ast.parse(text, mode="eval").body)
    return recipe


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
