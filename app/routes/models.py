"""GET /models, GET /models/{name}."""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter

from app.deps import RedisDep
from app.errors import Problem
from jobs import models
from jobs.schema import ModelCard, ModelPage

router = APIRouter(prefix="/models")


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
