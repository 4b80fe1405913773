"""The models being served, as live workers publish them: their cards, and the pictures that these name."""

from __future__ import annotations

from collections.abc import Mapping

from redis import Redis

from jobs import keys
from jobs.pace import Pace
from jobs.schema import ModelCard


def publish(
    redis: Redis, worker: str, cards: list[ModelCard], figures: Mapping[str, bytes], *, alive_seconds: float
) -> None:
    """Says what this worker serves, and that it lives; cards that no live worker serves any more go.

    figures  the pictures that the cards name, by their sha256
    Where no worker lives, cards stay as they were, so that jobs can still be queued.
    """
    there = {name.decode() for name in redis.hkeys(keys.FIGURES)}
    pipeline = redis.pipeline()  # in one move, so that a picture without its card is one that nobody needs
    for name in figures.keys() - there:
        pipeline.hset(keys.FIGURES, name, figures[name])
    for card in cards:
        pipeline.hset(keys.MODELS, card.name, card.model_dump_json())
    pipeline.sadd(keys.WORKERS, worker)
    pipeline.set(keys.worker(worker), "\n".join(card.name for card in cards), px=int(alive_seconds * 1000))
    pipeline.execute()
    known = _workers(redis)
    if dead := [name for name, names in known.items() if names is None]:
        redis.srem(keys.WORKERS, *dead)
    served = {name for names in known.values() if names for name in names.split(b"\n")}
    if stale := [name for name in redis.hkeys(keys.MODELS) if name not in served]:
        redis.hdel(keys.MODELS, *stale)
    _forget(redis, there)


def cards(redis: Redis) -> list[ModelCard]:
    """Every card, by name."""
    return [ModelCard.model_validate_json(text) for _, text in sorted(redis.hgetall(keys.MODELS).items())]


def figure(redis: Redis, card: ModelCard, name: str) -> bytes | None:
    """The file of one of a model's figures; None where there is none of that name, or none yet."""
    picture: bytes | None = redis.hget(keys.FIGURES, card.figures.get(name, ""))
    return picture


def live_workers(redis: Redis) -> int:
    """How many workers have published within their time."""
    return sum(names is not None for names in _workers(redis).values())


def paces(redis: Redis) -> dict[str, Pace]:
    """How fast each model is, where measured."""
    return {name.decode(): Pace.model_validate_json(text) for name, text in redis.hgetall(keys.PACES).items()}


def _workers(redis: Redis) -> dict[str, bytes | None]:
    """The models that each serves, one a line; None for one that lives no more."""
    names = [name.decode() for name in redis.smembers(keys.WORKERS)]
    return dict(zip(names, redis.mget([keys.worker(name) for name in names]), strict=True)) if names else {}


def _forget(redis: Redis, figures: set[str]) -> None:
    """Deletes those of `figures` that no card names any more."""
    if unnamed := figures - {name for card in cards(redis) for name in card.figures.values()}:
        redis.hdel(keys.FIGURES, *unnamed)
