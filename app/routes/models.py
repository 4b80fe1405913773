"""GET /models, GET /models/{name}, GET /models/{name}/figures/{figure}."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.deps import RedisDep
from app.errors import Problem, problems
from app.media import GIF, PNG, binary
from jobs import models
from jobs.schema import ModelCard, ModelPage

router = APIRouter(prefix="/models", tags=["models"], responses=problems(HTTPStatus.SERVICE_UNAVAILABLE))

HEADERS = {"Cache-Control": "private, max-age=60"}  # a model may be replaced

ModelName = Annotated[str, Path(description="Name of a model.")]


@router.get("", summary="List models")
def list_models(redis: RedisDep) -> ModelPage:
    """The card of every model."""
    return ModelPage(models=models.cards(redis))


@router.get("/{name}", summary="Get a model", responses=problems(HTTPStatus.NOT_FOUND))
def get_model(name: ModelName, redis: RedisDep) -> ModelCard:
    """The card of one model."""
    cards = {card.name: card for card in models.cards(redis)}
    if name not in cards:
        known = ", ".join(cards) or "none yet"
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no model {name}; there are: {known}")
    return cards[name]


@router.get(
    "/{name}/figures/{figure}",
    response_class=Response,
    summary="Get a figure of a model",
    responses={**problems(HTTPStatus.NOT_FOUND), 200: binary("The figure.", PNG, GIF)},
)
def get_figure(
    name: ModelName, figure: Annotated[str, Path(description="A name from the card's `figures`.")], redis: RedisDep
) -> Response:
    """A diagram of the training, of the data or of the sampling: PNG or GIF."""
    card = get_model(name, redis)
    file = models.figure(redis, card, figure)
    if file is None:
        known = ", ".join(card.figures) or "none"
        raise Problem(HTTPStatus.NOT_FOUND, f"model {name} has no figure {figure}; it has: {known}")
    return Response(file, media_type=GIF if figure.endswith(".gif") else PNG, headers=HEADERS)
