"""GET /models, GET /models/{name}, GET /models/{name}/figures/{figure}."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Response

from app.deps import RedisDep
from app.errors import Problem
from jobs import models
from jobs.schema import ModelCard, ModelPage

router = APIRouter(prefix="/models")

HEADERS = {"Cache-Control": "private, max-age=60"}  # a model may be replaced


@router.get("", summary="Every model's card")
def list_models(redis: RedisDep) -> ModelPage:
    return ModelPage(models=models.cards(redis))


@router.get("/{name}", summary="One model's card")
def get_model(name: str, redis: RedisDep) -> ModelCard:
    cards = {card.name: card for card in models.cards(redis)}
    if name not in cards:
        known = ", ".join(cards) or "none yet"
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no model {name}; there are: {known}")
    return cards[name]


@router.get("/{name}/figures/{figure}", response_class=Response, summary="One picture of a model")
def get_figure(name: str, figure: str, redis: RedisDep) -> Response:
    """As the card names them: how it was trained, what it learnt from, and how it samples. PNG or GIF."""
    card = get_model(name, redis)
    picture = models.figure(redis, card, figure)
    if picture is None:
        known = ", ".join(card.figures) or "none"
        raise Problem(HTTPStatus.NOT_FOUND, f"model {name} has no figure {figure}; it has: {known}")
    media_type = "image/gif" if figure.endswith(".gif") else "image/png"
    return Response(picture, media_type=media_type, headers=HEADERS)
