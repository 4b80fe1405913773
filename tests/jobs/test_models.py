"""Published models, and the life of the workers that publish them."""

from __future__ import annotations

import time

from redis import Redis

from jobs import keys, models
from jobs.pace import Pace
from tests.jobs.factories import card


def test_cards_of_all_workers_are_listed_by_name(redis: Redis) -> None:
    models.publish(redis, "one", [card(name="b"), card(name="a")], {}, alive_seconds=10)
    models.publish(redis, "two", [card(name="c")], {}, alive_seconds=10)
    assert models.cards(redis) == [card(name="a"), card(name="b"), card(name="c")]
    assert models.live_workers(redis) == 2


def test_publish_replaces_a_card(redis: Redis) -> None:
    models.publish(redis, "one", [card()], {}, alive_seconds=10)
    models.publish(redis, "one", [card(digest="e" * 64)], {}, alive_seconds=10)
    assert [each.digest for each in models.cards(redis)] == ["e" * 64]


def test_dead_worker_is_not_counted_and_its_cards_stay(redis: Redis) -> None:
    models.publish(redis, "one", [card()], {}, alive_seconds=0.05)
    assert models.live_workers(redis) == 1
    time.sleep(0.1)
    assert models.live_workers(redis) == 0
    assert models.cards(redis) == [card()]


def test_publish_deletes_cards_that_no_live_worker_serves(redis: Redis) -> None:
    models.publish(redis, "one", [card(name="a"), card(name="b")], {}, alive_seconds=10)
    models.publish(redis, "dead", [card(name="c")], {}, alive_seconds=0.05)
    time.sleep(0.1)
    models.publish(redis, "two", [card(name="d")], {}, alive_seconds=10)
    models.publish(redis, "one", [card(name="b")], {}, alive_seconds=10)
    assert [each.name for each in models.cards(redis)] == ["b", "d"]


def test_worker_without_models_is_alive(redis: Redis) -> None:
    models.publish(redis, "one", [], {}, alive_seconds=10)
    assert models.live_workers(redis) == 1
    assert models.cards(redis) == []


def test_keep_alive_prolongs_a_worker_and_does_not_revive_it(redis: Redis) -> None:
    models.publish(redis, "one", [card()], {}, alive_seconds=0.3)
    models.keep_alive(redis, "one", 10)
    models.keep_alive(redis, "unknown", 10)
    time.sleep(0.4)
    assert models.live_workers(redis) == 1
    assert not redis.exists(keys.worker("unknown"))


def test_paces_are_by_model(redis: Redis) -> None:
    pace = Pace(rows=[2, 8], seconds=[0.1, 0.2], slots=64, drift=1.5)
    models.publish_paces(redis, {"a": pace})
    models.publish_paces(redis, {})
    assert models.paces(redis) == {"a": pace}


def test_figures_exist_while_a_card_names_them(redis: Redis) -> None:
    drawn = card(name="a", figures={"loss.png": "1" * 64, "process.gif": "2" * 64})
    models.publish(redis, "one", [drawn], {"1" * 64: b"a curve", "2" * 64: b"a film"}, alive_seconds=10)
    assert models.figure(redis, drawn, "loss.png") == b"a curve"
    assert models.figure(redis, drawn, "other.png") is None
    again = card(name="a", figures={"loss.png": "3" * 64})
    models.publish(redis, "one", [again], {"3" * 64: b"a longer curve"}, alive_seconds=10)
    assert models.figure(redis, again, "loss.png") == b"a longer curve"
    assert redis.hkeys(keys.FIGURES) == [b"3" * 64]


def test_figures_of_another_worker_stay(redis: Redis) -> None:
    for name in ("a", "b"):
        models.publish(
            redis, name, [card(name=name, figures={"x.png": name * 64})], {name * 64: b"x"}, alive_seconds=10
        )
    models.publish(redis, "a", [card(name="a")], {}, alive_seconds=10)
    assert redis.hkeys(keys.FIGURES) == [b"b" * 64]
