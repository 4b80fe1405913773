"""The resume state: weights, their average, the optimiser's moments and the run's counters, in one safetensors file."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

STATE = "state.safetensors"


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
    """Puts the tensors of `collect` back."""
    unet.load_state_dict(_with_prefix(tensors, "unet."))
    average.load_state_dict(_with_prefix(tensors, "ema."))
    for i, parameter in enumerate(unet.parameters()):
        # The fused optimiser walks memory, so moments need the memory format of the weights: channels last.
        optimizer.state[parameter] = {
            name: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
            for name, value in _with_prefix(tensors, f"optimizer.{i}.").items()
        }


def _with_prefix(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
