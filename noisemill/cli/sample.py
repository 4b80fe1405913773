"""sample: images without a service."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noisemill.cli import checkpoints
from noisemill.cli.console import console, stop
from noisemill.cli.options import Device, ModelPath

if TYPE_CHECKING:
    from torch import Tensor

    from jobs.schema import JobSpec
    from worker.catalog import Model


def sample(
    model: ModelPath,
    out: Annotated[Path, typer.Option(help="A folder for PNGs, or a .npy file: uint8, (N, H, W) or (N, H, W, 3).")],
    count: int = 1,
    seed: Annotated[int | None, typer.Option(help="Default: random, and printed.")] = None,
    first_index: int = 0,
    steps: Annotated[int | None, typer.Option(help="Default: the card's recommendation.")] = None,
    sampler: Annotated[str | None, typer.Option(help="One of the card's samplers.")] = None,
    spacing: Annotated[str, typer.Option(help="trailing, leading or linspace.")] = "trailing",
    eta: Annotated[float | None, typer.Option(help="For ddim: 0 adds no noise, 1 as much as DDPM.")] = None,
    thresholding: Annotated[str | None, typer.Option(help="Of x̂0: static, dynamic or none.")] = None,
    label: Annotated[
        str | None, typer.Option(help="A class, by number or by name, or `cycle`: the classes in turn.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="Guidance scale; default: the card's recommendation.")] = None,
    image: Annotated[Path | None, typer.Option(help="Start image, of the model's size.")] = None,
    strength: Annotated[float | None, typer.Option(help="With --image: how far it is noised, 0 to 1.")] = None,
    device: Device = None,
) -> None:
    """Sample without a service, through the same engine: the same bytes as over HTTP."""
    if out.suffix != ".npy" and out.exists() and not out.is_dir():
        stop(f"{out} is a file: name a folder for PNGs, or a .npy file")
    loaded = checkpoints.load(model, device)
    fields: dict[str, object] = {
        "count": count,
        "seed": seed,
        "first_index": first_index,
        "steps": steps,
        "sampler": sampler,
        "spacing": spacing,
        "eta": eta,
        "thresholding": thresholding,
        "label": int(label) if label is not None and label.isdigit() else label,
        "guidance_scale": guidance,
        "strength": strength,
    }
    spec = _resolve(loaded, fields, image)
    _write(out, spec, loaded.network.build, checkpoints.sample(loaded, spec))
    console.print(f"{spec.count} images in {out}, seed {spec.seed}")


def _resolve(model: Model, fields: dict[str, object], image: Path | None) -> JobSpec:
    """The request with every default filled in; stops if a field is not allowed."""
    from pydantic import ValidationError

    from jobs.resolve import FieldError, resolve
    from jobs.schema import GenerateRequest
    from jobs.start_image import check_start_image

    try:
        start = None if image is None else base64.b64encode(image.read_bytes()).decode()
        request = GenerateRequest.model_validate({**fields, "image": start})
        spec = resolve(request, model.card)
        if request.image is not None:
            check_start_image(request.image, model.card)
    except ValidationError as error:
        stop("; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()))
    except (OSError, FieldError) as error:
        stop(str(error))
    return spec


def _write(out: Path, spec: JobSpec, build: str, pixels: Tensor) -> None:
    """pixels  uint8 (N, C, H, W)"""
    import numpy

    from model import images

    if out.suffix == ".npy":
        array = pixels.permute(0, 2, 3, 1).numpy()
        numpy.save(out, array[..., 0] if array.shape[3] == 1 else array)
        return
    out.mkdir(parents=True, exist_ok=True)
    for position, picture in enumerate(pixels):
        path = out / f"{spec.first_index + position:05d}.png"
        path.write_bytes(images.png(picture, spec.recipe(position, build)))
