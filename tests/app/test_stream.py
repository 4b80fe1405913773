"""GET /jobs/{id}/events: the whole story, from anywhere, as it comes, to its end."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from redis import Redis

from app.watch import RECHECK_SECONDS
from jobs import keys, models
from jobs.events import PAGE
from jobs.records import Attempt, Records
from jobs.schema import Done
from tests.app.web import Event, Watcher, assert_problem, events, generate, serving, wait_until
from tests.jobs.made import CARD, frame
from tests.jobs.mortal import MortalRedis

pytestmark = pytest.mark.timeout(90)  # a stream that is not closed is kept alive for ever


def begun(redis: Redis, job: dict[str, Any]) -> Attempt:
    attempt = Records(redis).begin(job["id"])
    assert attempt is not None
    return attempt


@pytest.fixture
def told(http: httpx.Client, redis: Redis) -> dict[str, Any]:
    """A finished job with more frames than a page of the stream holds."""
    job, records = generate(http), Records(redis)
    attempt = begun(redis, job)
    for step in range(1, PAGE + 4):
        records.frame(attempt, frame(attempt, step))
    records.finish(attempt, Done(images=1, seconds=1.5))
    return job


def test_after_the_fact_the_whole_story_is_told(http: httpx.Client, told: dict[str, Any]) -> None:
    story = list(events(http, told["urls"]["events"]))
    assert [event.type for event in story] == ["queued", "started", *["frame"] * (PAGE + 3), "done"]
    assert story[0].data == {"position": 0, "eta_seconds": None}
    assert story[1].data == {"attempt": 1}
    assert story[2].data == frame(Attempt(told["id"], 1, 0), 1).model_dump()
    assert story[-1].data == {"images": 1, "seconds": 1.5}


def test_it_goes_on_exactly_after_any_event(http: httpx.Client, told: dict[str, Any]) -> None:
    story = list(events(http, told["urls"]["events"]))
    for i in (0, 1, PAGE - 1, PAGE, len(story) - 2):
        assert list(events(http, told["urls"]["events"], story[i].id)) == story[i + 1 :]


def test_after_the_last_event_the_stream_ends_at_once(http: httpx.Client, told: dict[str, Any]) -> None:
    """A client that missed only the end of the connection must not be left to wait for ever."""
    *_, last = events(http, told["urls"]["events"])
    began = time.monotonic()
    assert list(events(http, told["urls"]["events"], last.id)) == []
    assert time.monotonic() - began < RECHECK_SECONDS


def test_a_watcher_of_a_job_that_is_forgotten_is_let_go(http: httpx.Client, redis: Redis) -> None:
    job = generate(http)
    watcher = Watcher(http, job)
    wait_until(lambda: len(watcher.seen) == 1)
    redis.delete(keys.events(job["id"]), keys.job(job["id"]))
    redis.publish(keys.NEWS, job["id"])
    assert [event.type for event in watcher.story()] == ["queued"]


def test_events_arrive_as_they_come(http: httpx.Client, redis: Redis) -> None:
    job, records = generate(http), Records(redis)
    watchers = [Watcher(http, job) for _ in range(3)]
    wait_until(lambda: all(len(watcher.seen) == 1 for watcher in watchers))
    attempt, sent = begun(redis, job), [time.monotonic()]
    for step in range(1, 5):
        time.sleep(0.1)
        sent.append(time.monotonic())
        records.frame(attempt, frame(attempt, step))
    sent.append(time.monotonic())
    records.finish(attempt, Done(images=1, seconds=0.5))
    for watcher in watchers:
        story = watcher.story()
        assert [event.type for event in story] == ["queued", "started", *["frame"] * 4, "done"]
        waits = sorted(event.at - at for event, at in zip(story[1:], sent, strict=True))
        assert waits[len(waits) // 2] < 1
        assert waits[-1] < RECHECK_SECONDS, "none waited for the regular look"


def test_watchers_read_together(http: httpx.Client, redis: Redis) -> None:
    job, frames = generate(http), 20
    watchers = [Watcher(http, job) for _ in range(10)]
    attempt = begun(redis, job)
    wait_until(lambda: all(len(watcher.seen) == 2 for watcher in watchers))
    before = redis.info("commandstats")["cmdstat_xrange"]["calls"]
    for step in range(1, frames + 1):
        Records(redis).frame(attempt, frame(attempt, step))
        wait_until(lambda so_far=2 + step: all(len(watcher.seen) == so_far for watcher in watchers))
    reads = redis.info("commandstats")["cmdstat_xrange"]["calls"] - before
    Records(redis).cancel(job["id"])
    assert all(len(watcher.story()) == frames + 3 for watcher in watchers)
    assert frames <= reads < 2 * frames


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_every_end_closes_the_stream(http: httpx.Client, redis: Redis, end: str) -> None:
    job, records = generate(http), Records(redis)
    watcher = Watcher(http, job)
    assert records.cancel(job["id"]) if end == "cancel" else records.fail(job["id"], "given up")
    assert [event.type for event in watcher.story()] == ["queued", {"fail": "failed", "cancel": "canceled"}[end]]


def test_a_watcher_hears_of_its_own_job_alone(http: httpx.Client, redis: Redis) -> None:
    mine, other = generate(http), generate(http)
    watcher = Watcher(http, mine)
    Records(redis).cancel(other["id"])
    Records(redis).fail(mine["id"], "given up")
    assert [event.type for event in watcher.story()] == ["queued", "failed"]


@pytest.mark.parametrize("last_id", ["last", "", "1-", "-1", "99999999999999999999-0"])
def test_an_id_that_cannot_have_been_sent_is_refused(http: httpx.Client, told: dict[str, Any], last_id: str) -> None:
    answer = http.get(told["urls"]["events"], headers={"Last-Event-ID": last_id}, timeout=10)
    assert_problem(answer, 422, "Last-Event-ID")


def test_a_watcher_outlives_redis(mortal_redis: MortalRedis) -> None:
    with (
        serving(redis_url=mortal_redis.url) as url,
        httpx.Client(base_url=url, timeout=60) as http,
        Redis.from_url(mortal_redis.url) as redis,
    ):
        models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
        job, records = generate(http), Records(redis)
        attempt = begun(redis, job)
        watcher = Watcher(http, job)
        records.frame(attempt, frame(attempt, 1))
        wait_until(lambda: len(watcher.seen) == 3)
        mortal_redis.kill()
        time.sleep(0.7)
        mortal_redis.start()
        for step in (2, 3):
            assert records.frame(attempt, frame(attempt, step))
        assert records.finish(attempt, Done(images=1, seconds=0.5))
        story = watcher.story()
        assert [event.type for event in story] == ["queued", "started", "frame", "frame", "frame", "done"]
        assert story == list(events(http, job["urls"]["events"]))
        again = generate(http)
        later = Watcher(http, again)
        wait_until(lambda: len(later.seen) == 1)
        sent = time.monotonic()
        records.cancel(again["id"])
        assert later.story()[-1].at - sent < RECHECK_SECONDS, "news are heard again"


def test_ids_only_grow(http: httpx.Client, told: dict[str, Any]) -> None:
    def order(event: Event) -> tuple[int, ...]:
        return tuple(map(int, event.id.split("-")))

    story = list(events(http, told["urls"]["events"]))
    assert sorted(story, key=order) == story
    assert len({event.id for event in story}) == len(story)
