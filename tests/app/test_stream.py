"""GET /jobs/{job_id}/events: complete, resumable after any event, and prompt."""

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
from tests.app.http_helpers import Event, Watcher, assert_problem, events, generate, serving, wait_until
from tests.jobs.factories import CARD, frame
from tests.jobs.killable_redis import KillableRedis

pytestmark = pytest.mark.timeout(90)  # a stream that is not closed is kept open by comments


def begin(redis: Redis, job: dict[str, Any]) -> Attempt:
    attempt = Records(redis).begin(job["id"])
    assert attempt is not None
    return attempt


@pytest.fixture
def finished_job(http: httpx.Client, redis: Redis) -> dict[str, Any]:
    """A finished job with more frames than a page of the stream holds."""
    job, records = generate(http), Records(redis)
    attempt = begin(redis, job)
    for step in range(1, PAGE + 4):
        records.frame(attempt, frame(attempt, step))
    records.finish(attempt, Done(images=1, seconds=1.5))
    return job


def test_stream_of_an_ended_job_has_every_event(http: httpx.Client, finished_job: dict[str, Any]) -> None:
    seen = list(events(http, finished_job["urls"]["events"]))
    assert [event.type for event in seen] == ["queued", "started", *["frame"] * (PAGE + 3), "done"]
    assert seen[0].data == {"position": 0, "eta_seconds": None}
    assert seen[1].data == {"attempt": 1}
    assert seen[2].data == frame(Attempt(finished_job["id"], 1, 0), 1).model_dump()
    assert seen[-1].data == {"images": 1, "seconds": 1.5}


def test_last_event_id_resumes_after_any_event(http: httpx.Client, finished_job: dict[str, Any]) -> None:
    seen = list(events(http, finished_job["urls"]["events"]))
    for i in (0, 1, PAGE - 1, PAGE, len(seen) - 2):
        assert list(events(http, finished_job["urls"]["events"], seen[i].id)) == seen[i + 1 :]


def test_resumed_after_the_last_event_the_stream_ends_at_once(http: httpx.Client, finished_job: dict[str, Any]) -> None:
    """A client that has received all events, but not the end of the stream, must not wait forever."""
    *_, last = events(http, finished_job["urls"]["events"])
    began = time.monotonic()
    assert list(events(http, finished_job["urls"]["events"], last.id)) == []
    assert time.monotonic() - began < RECHECK_SECONDS


def test_stream_of_a_deleted_job_ends(http: httpx.Client, redis: Redis) -> None:
    job = generate(http)
    watcher = Watcher(http, job)
    wait_until(lambda: len(watcher.seen) == 1)
    redis.delete(keys.events(job["id"]), keys.job(job["id"]))
    redis.publish(keys.NEWS, job["id"])
    assert [event.type for event in watcher.all()] == ["queued"]


def test_events_arrive_as_they_are_written(http: httpx.Client, redis: Redis) -> None:
    job, records = generate(http), Records(redis)
    watchers = [Watcher(http, job) for _ in range(3)]
    wait_until(lambda: all(len(watcher.seen) == 1 for watcher in watchers))
    attempt, sent = begin(redis, job), [time.monotonic()]
    for step in range(1, 5):
        time.sleep(0.1)
        sent.append(time.monotonic())
        records.frame(attempt, frame(attempt, step))
    sent.append(time.monotonic())
    records.finish(attempt, Done(images=1, seconds=0.5))
    for watcher in watchers:
        seen = watcher.all()
        assert [event.type for event in seen] == ["queued", "started", *["frame"] * 4, "done"]
        waits = sorted(event.at - at for event, at in zip(seen[1:], sent, strict=True))
        assert waits[len(waits) // 2] < 1
        assert waits[-1] < RECHECK_SECONDS, "none waited for the periodic read"


def test_watchers_of_one_job_share_reads(http: httpx.Client, redis: Redis) -> None:
    job, frames = generate(http), 20
    watchers = [Watcher(http, job) for _ in range(10)]
    attempt = begin(redis, job)
    wait_until(lambda: all(len(watcher.seen) == 2 for watcher in watchers))
    before = redis.info("commandstats")["cmdstat_xrange"]["calls"]
    for step in range(1, frames + 1):
        Records(redis).frame(attempt, frame(attempt, step))
        wait_until(lambda so_far=2 + step: all(len(watcher.seen) == so_far for watcher in watchers))
    reads = redis.info("commandstats")["cmdstat_xrange"]["calls"] - before
    Records(redis).cancel(job["id"])
    assert all(len(watcher.all()) == frames + 3 for watcher in watchers)
    assert frames <= reads < 2 * frames


@pytest.mark.parametrize("end", ["fail", "cancel"])
def test_every_terminal_event_closes_the_stream(http: httpx.Client, redis: Redis, end: str) -> None:
    job, records = generate(http), Records(redis)
    watcher = Watcher(http, job)
    assert records.cancel(job["id"]) if end == "cancel" else records.fail(job["id"], "given up")
    assert [event.type for event in watcher.all()] == ["queued", {"fail": "failed", "cancel": "canceled"}[end]]


def test_watcher_gets_events_of_its_own_job_only(http: httpx.Client, redis: Redis) -> None:
    mine, other = generate(http), generate(http)
    watcher = Watcher(http, mine)
    Records(redis).cancel(other["id"])
    Records(redis).fail(mine["id"], "given up")
    assert [event.type for event in watcher.all()] == ["queued", "failed"]


@pytest.mark.parametrize("last_id", ["last", "", "1-", "-1", "99999999999999999999-0"])
def test_invalid_last_event_id_is_422(http: httpx.Client, finished_job: dict[str, Any], last_id: str) -> None:
    answer = http.get(finished_job["urls"]["events"], headers={"Last-Event-ID": last_id}, timeout=10)
    assert_problem(answer, 422, "Last-Event-ID")


def test_stream_continues_after_redis_was_killed(killable_redis: KillableRedis) -> None:
    with (
        serving(redis_url=killable_redis.url) as url,
        httpx.Client(base_url=url, timeout=60) as http,
        Redis.from_url(killable_redis.url) as redis,
    ):
        models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
        job, records = generate(http), Records(redis)
        attempt = begin(redis, job)
        watcher = Watcher(http, job)
        records.frame(attempt, frame(attempt, 1))
        wait_until(lambda: len(watcher.seen) == 3)
        killable_redis.kill()
        time.sleep(0.7)
        killable_redis.start()
        for step in (2, 3):
            assert records.frame(attempt, frame(attempt, step))
        assert records.finish(attempt, Done(images=1, seconds=0.5))
        seen = watcher.all()
        assert [event.type for event in seen] == ["queued", "started", "frame", "frame", "frame", "done"]
        assert seen == list(events(http, job["urls"]["events"]))
        again = generate(http)
        later = Watcher(http, again)
        wait_until(lambda: len(later.seen) == 1)
        sent = time.monotonic()
        records.cancel(again["id"])
        assert later.all()[-1].at - sent < RECHECK_SECONDS, "notifications arrive again"


def test_event_ids_increase(http: httpx.Client, finished_job: dict[str, Any]) -> None:
    def order(event: Event) -> tuple[int, ...]:
        return tuple(map(int, event.id.split("-")))

    seen = list(events(http, finished_job["urls"]["events"]))
    assert sorted(seen, key=order) == seen
    assert len({event.id for event in seen}) == len(seen)
