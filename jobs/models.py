"""The models that live workers serve: cards, figures, and measured paces."""

from __future__ import annotations

from collections.abc import Mapping

from redis import Redis

from jobs import keys
from jobs.pace import Pace
from jobs.schema import ModelCard


def publish(
    redis: Redis, worker: str, cards: list[ModelCard], figures: Mapping[str, bytes], *, alive_seconds: float
) -> None:
    """Publishes a worker's models, and deletes the cards that no live worker serves any more.

    figures        the files that the cards name, by their sha256
    alive_seconds  time for which the worker counts as alive; `keep_alive` extends it

    While no worker is alive, all cards are kept, so that jobs can still be queued.
    """
    published = {name.decode() for name in redis.hkeys(keys.FIGURES)}
    pipeline = redis.pipeline()  # a transaction: a figure that no card names is unused, never one about to be named
    for name in figures.keys() - published:
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
    _delete_unused(redis, published)


def keep_alive(redis: Redis, worker: str, alive_seconds: float) -> None:
    """Extends the time for which a worker counts as alive, after `publish`."""
    redis.pexpire(keys.worker(worker), int(alive_seconds * 1000))


def cards(redis: Redis) -> list[ModelCard]:
    """Every card, by name."""
    return [ModelCard.model_validate_json(text) for _, text in sorted(redis.hgetall(keys.MODELS).items())]


def figure(redis: Redis, card: ModelCard, name: str) -> bytes | None:
    """The file of one of a model's figures, or None."""
    file: bytes | None = redis.hget(keys.FIGURES, card.figures.get(name, ""))
    return file


def live_workers(redis: Redis) -> int:
    """The number of live workers."""
    return sum(names is not None for names in _workers(redis).values())


def paces(redis: Redis) -> dict[str, Pace]:
    """Measured paces, by model."""
    return {name.decode(): Pace.model_validate_json(text) for name, text in redis.hgetall(keys.PACES).items()}


def publish_paces(redis: Redis, paces: Mapping[str, Pace]) -> None:
    if paces:
        redis.hset(keys.PACES, mapping={name: pace.model_dump_json() for name, pace in paces.items()})


def _workers(redis: Redis) -> dict[str, bytes | None]:
    """Each worker's models, one per line; None for a dead worker."""
    names = [name.decode() for name in redis.smembers(keys.WORKERS)]
    return dict(zip(names, redis.mget([keys.worker(name) for name in names]), strict=True)) if names else {}


def _delete_unused(redis: Redis, figures: set[str]) -> None:
    """Deletes those of `figures` that no card names."""
    if unused := figures - {name for card in cards(redis) for name in card.figures.values()}:
        redis.hdel(keys.FIGURES, *unused)
