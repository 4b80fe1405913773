"""No accepted job is lost, whichever process is killed, and its images are the same bytes as without a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.service import Event, Service, wait_until

REQUEST = {"model": "tiny", "count": 8, "seed": 11, "steps": 1000, "label": 3}
RECOVERY_SECONDS = 15.0  # maximum time until a killed worker's job runs again, on an idle machine
SLACK = 4.0  # factor for a busy machine


@pytest.fixture(scope="module")
def crashing(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tiny.parent, tmp_path_factory.mktemp("crashing"))
    service.start()
    yield service
    service.close()


@pytest.fixture(scope="module")
def undisturbed(crashing: Service) -> list[bytes]:
    """The request's images without a crash."""
    return crashing.images(crashing.generate(**REQUEST))


class Watcher:
    """A client that stays connected."""

    def __init__(self, service: Service, job: dict[str, Any]) -> None:
        self.events: list[Event] = []
        self._thread = threading.Thread(target=self._run, args=(service, job), daemon=True)
        self._thread.start()

    def saw(self, kind: str, count: int = 1) -> bool:
        return sum(event.type == kind for event in self.events) >= count

    def all_events(self) -> list[Event]:
        self._thread.join(180)
        assert not self._thread.is_alive()
        return self.events

    def _run(self, service: Service, job: dict[str, Any]) -> None:
        for event in service.events(job):
            self.events.append(event)


def assert_consistent(events: list[Event]) -> None:
    """One `queued` event first, one terminal event last, no duplicates, and steps that ascend."""
    assert [event.type for event in events].count("queued") == 1
    assert [event.type for event in events if event.type in ("done", "failed", "canceled")] == ["done"]
    assert events[0].type == "queued"
    assert events[-1].type == "done"
    ids = [event.id for event in events]
    assert len(set(ids)) == len(ids)
    steps = [event.data["step"] for event in events if event.type == "frame"]
    assert steps == sorted(set(steps))
    assert len(steps) == 20
    attempts = [event.data["attempt"] for event in events if event.type == "started"]
    assert attempts == list(range(1, len(attempts) + 1))


def test_worker_killed_while_a_job_runs(crashing: Service, undisturbed: list[bytes]) -> None:
    job = crashing.generate(**REQUEST)
    watcher = Watcher(crashing, job)
    wait_until(lambda: watcher.saw("frame", 3), 60)
    crashing.kill("worker")
    killed = time.monotonic()
    wait_until(lambda: watcher.saw("started", 2), RECOVERY_SECONDS * SLACK)
    print(f"running again after {time.monotonic() - killed:.1f} s")
    assert crashing.images(job) == undisturbed
    assert_consistent(watcher.all_events())


def test_worker_killed_twice_in_a_row(crashing: Service, undisturbed: list[bytes]) -> None:
    job = crashing.generate(**REQUEST)
    watcher = Watcher(crashing, job)
    for attempt in (1, 2):
        wait_until(lambda attempt=attempt: watcher.saw("started", attempt), RECOVERY_SECONDS * SLACK)
        time.sleep(0.3)
        crashing.kill("worker")
    assert crashing.images(job) == undisturbed
    assert_consistent(watcher.all_events())
    assert crashing.job(job)["attempt"] == 3


def test_redis_killed_while_a_job_runs(crashing: Service, undisturbed: list[bytes]) -> None:
    job = crashing.generate(**REQUEST)
    watcher = Watcher(crashing, job)
    wait_until(lambda: watcher.saw("frame", 3), 60)
    crashing.kill("redis")
    assert_consistent(watcher.all_events())
    assert crashing.images(job) == undisturbed


def test_app_killed_while_a_job_runs(crashing: Service, undisturbed: list[bytes]) -> None:
    job = crashing.generate(**REQUEST)
    crashing.kill("app")
    wait_until(crashing.is_ready, 60)
    assert crashing.images(job) == undisturbed


def test_service_restarted_while_a_job_runs(crashing: Service, undisturbed: list[bytes]) -> None:
    job = crashing.generate(**REQUEST)
    before: list[Event] = []
    for event in crashing.events(job):
        before.append(event)
        if event.type == "frame" and event.data["step"] >= 300:
            break
    crashing.stop()
    crashing.start()
    after = list(crashing.events(job, last_id=before[-1].id))
    assert_consistent(before + after)
    assert crashing.images(job) == undisturbed
    assert crashing.job(job)["attempt"] == 2


def test_worker_killed_while_it_compiles(tiny: Path, tmp_path: Path, undisturbed: list[bytes]) -> None:
    fresh = Service(tiny.parent, tmp_path, {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "nothing-compiled-yet")})
    fresh.start()
    job = fresh.generate(**REQUEST)
    time.sleep(3)
    assert fresh.job(job)["progress"]["steps_done"] == 0, "it should be compiling still"
    fresh.kill("worker")
    try:
        assert fresh.images(job) == undisturbed
    finally:
        fresh.close()


def test_service_stopped_while_it_compiles_ends_at_once_and_spends_no_attempt(
    tiny: Path, tmp_path: Path, undisturbed: list[bytes]
) -> None:
    fresh = Service(tiny.parent, tmp_path, {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "nothing-compiled-yet")})
    fresh.start()
    job = fresh.generate(**REQUEST)
    time.sleep(3)
    assert fresh.job(job)["progress"]["steps_done"] == 0, "it should be compiling still"
    fresh.stop()
    assert "process does not stop, sending SIGKILL" not in fresh.log.read_text()
    fresh.start()
    try:
        assert fresh.images(job) == undisturbed
        assert fresh.job(job)["attempt"] == 1
    finally:
        fresh.close()
