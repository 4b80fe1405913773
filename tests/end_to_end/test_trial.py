"""200 random requests: one by one, all at once, and in another order on two workers of which one is killed.

Every image has the same bytes, no job is lost, and no event is repeated.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.service import Event, Service, running

TRIALS, REQUESTS = 4, 50
SECONDS = 180.0
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # for two workers on two cores


def requests() -> st.SearchStrategy[dict[str, Any]]:
    labels = st.one_of(st.integers(0, 10), st.just("cycle"))
    return st.fixed_dictionaries(
        {
            "count": st.integers(1, 6),
            "steps": st.integers(1, 80),
            "seed": st.integers(0, 2**64 - 1),
            "sampler": st.sampled_from(["ddpm", "ddpm_beta", "ddim", "dpmpp_2m", "heun"]),
            "label": labels,
            "guidance_scale": st.sampled_from([1.0, 1.5, 4.0]),
            "thresholding": st.sampled_from(["static", "dynamic", "none"]),
            "spacing": st.sampled_from(["trailing", "leading", "linspace"]),
        },
        optional={"first_index": st.integers(0, 2**32 - 7), "priority": st.just("batch"), "frames": st.integers(0, 9)},
    )


@pytest.fixture(scope="module")
def trial_service(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(Service(tiny.parent, tmp_path_factory.mktemp("trial"), ONE_THREAD)) as service:
        service.finished(service.generate(steps=1))  # wait for the compilation
        yield service


@contextmanager
def second_worker(service: Service) -> Iterator[subprocess.Popen[bytes]]:
    """A second worker process on the same queue."""
    command = [
        sys.executable,
        "-m",
        "noisemill",
        "worker",
        "--redis-url",
        service.redis_url,
        "--models",
        str(service.models),
    ]
    with service.log.open("ab") as log:
        worker = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | ONE_THREAD)
    try:
        deadline = time.monotonic() + SECONDS
        while service.http.get("/readyz").json()["workers"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield worker
    finally:
        worker.kill()
        worker.wait(10)


def outcomes(service: Service, asked: list[dict[str, Any]]) -> list[list[bytes]]:
    """The images of concurrent requests; checks every job's events."""
    jobs = [service.generate(**body) for body in asked]
    all_images = [service.images(job, SECONDS) for job in jobs]
    for job, images in zip(jobs, all_images, strict=True):
        assert len(images) == job["request"]["count"]
        assert_events_are_consistent(job["request"], list(service.events(job)))
    return all_images


def assert_events_are_consistent(spec: dict[str, Any], events: list[Event]) -> None:
    """One `queued` first, one `done` last, unique ids, increasing steps per image up to the last."""
    kinds = [event.type for event in events]
    assert kinds[0] == "queued"
    assert kinds[-1] == "done"
    assert kinds.count("queued") == kinds.count("done") == 1
    assert {"failed", "canceled"}.isdisjoint(kinds)
    assert len({event.id for event in events}) == len(events)
    steps: defaultdict[int, list[int]] = defaultdict(list)
    for event in events:
        if event.type == "frame":
            for position in range(event.data["first"], event.data["first"] + len(event.data["images"])):
                steps[position].append(event.data["step"])
    assert len(steps) == (spec["count"] if spec["frames"] else 0)
    for shown in steps.values():
        assert shown == sorted(set(shown))
        assert shown[-1] == spec["steps"]


@settings(
    max_examples=TRIALS,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
)
@given(asked=st.lists(requests(), min_size=REQUESTS, max_size=REQUESTS), chance=st.randoms(use_true_random=False))
@pytest.mark.timeout(900)
def test_200_requests_give_same_bytes_alone_batched_and_after_a_crash(
    trial_service: Service, asked: list[dict[str, Any]], chance: random.Random
) -> None:
    alone = [outcomes(trial_service, [body])[0] for body in asked]
    assert outcomes(trial_service, asked) == alone
    order = chance.sample(range(len(asked)), len(asked))
    with second_worker(trial_service) as second:
        kill = threading.Timer(chance.uniform(0, 2), chance.choice([second.kill, lambda: trial_service.kill("worker")]))
        kill.start()
        again = outcomes(trial_service, [asked[i] for i in order])
        kill.join()
    assert again == [alone[i] for i in order]
