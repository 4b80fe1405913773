"""Signs of life go on whatever happens to one of them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from jobs import keys
from tests.jobs.mortal import MortalRedis
from worker.heartbeat import Heartbeat
from worker.main import connect


def test_a_task_that_fails_stops_neither_itself_nor_the_others() -> None:
    failures, beats, enough = [], [], threading.Event()

    def fail() -> None:
        failures.append(1)
        raise RuntimeError("as it may")

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            enough.set()

    heartbeat = Heartbeat(0.01, [fail, beat])
    assert enough.wait(10)
    heartbeat.close()
    assert len(failures) == len(beats)
    time.sleep(0.05)
    assert len(failures) == len(beats), "closed is closed"


def test_a_command_waits_until_redis_is_back(tmp_path: Path) -> None:
    with MortalRedis(tmp_path) as mortal_redis, connect(mortal_redis.url) as redis:
        redis.set(keys.QUEUE, "kept")
        mortal_redis.kill()
        restart = threading.Timer(1.0, mortal_redis.start)
        restart.start()
        began = time.monotonic()
        assert redis.get(keys.QUEUE) == b"kept"
        assert time.monotonic() - began > 0.5
        restart.join()
