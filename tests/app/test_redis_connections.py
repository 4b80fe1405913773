"""The app during network failures: half-open connections to Redis, and lost replies."""

from __future__ import annotations

import time
from collections.abc import Iterator

import httpx
import pytest
from redis import Redis
from rq import Queue

from app.watch import RECHECK_SECONDS
from jobs import keys, models
from jobs.records import Records
from tests.app.http_helpers import Watcher, generate, serving, wait_until
from tests.app.redis_proxy import RedisProxy
from tests.jobs.factories import CARD

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def proxy(redis_url: str) -> Iterator[RedisProxy]:
    with RedisProxy(redis_url.removeprefix("unix://")) as proxy:
        yield proxy


@pytest.fixture
def http(proxy: RedisProxy, redis: Redis) -> Iterator[httpx.Client]:
    """A client of an app that has subscribed through the proxy, and has no other connection yet."""
    models.publish(redis, "worker", [CARD], {}, alive_seconds=600)
    others = subscribers(redis)
    with serving(redis_url=proxy.url) as url, httpx.Client(base_url=url, timeout=60) as http:
        wait_until(lambda: subscribers(redis) == others + 1)
        yield http


def subscribers(redis: Redis) -> int:
    return int(redis.pubsub_numsub(keys.NEWS)[0][1])


def test_stream_continues_after_half_open_redis_connection(http: httpx.Client, redis: Redis, proxy: RedisProxy) -> None:
    job = generate(http)
    watcher = Watcher(http, job)
    wait_until(lambda: len(watcher.seen) == 1)
    proxy.freeze()
    Records(redis).cancel(job["id"])
    assert [event.type for event in watcher.all()] == ["queued", "canceled"]


def test_notifications_arrive_again_after_half_open_redis_connection(
    http: httpx.Client, redis: Redis, proxy: RedisProxy
) -> None:
    """Without notifications every event would be up to RECHECK_SECONDS late, until the process is restarted."""
    proxy.freeze()
    time.sleep(3 * RECHECK_SECONDS)  # silence, PING, no answer
    delays = []
    for _ in range(3):
        job = generate(http)
        watcher = Watcher(http, job)
        wait_until(lambda watcher=watcher: len(watcher.seen) == 1)
        canceled_at = time.monotonic()
        Records(redis).cancel(job["id"])
        delays.append(watcher.all()[-1].at - canceled_at)
    assert max(delays) < RECHECK_SECONDS / 2


def test_generate_queues_one_job_when_the_answer_of_redis_is_lost(
    http: httpx.Client, redis: Redis, proxy: RedisProxy
) -> None:
    generate(http)  # loads the scripts
    proxy.lose_answer_to(b"EXEC")
    job = generate(http)
    assert Queue(keys.QUEUE, connection=redis).job_ids.count(job["id"]) == 1
    assert redis.xlen(keys.events(job["id"])) == 1
    assert redis.zcard(keys.JOBS) == 2
