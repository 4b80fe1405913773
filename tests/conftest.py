"""Shared fixtures: a real Redis, a tiny checkpoint, the whole service."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

# Compiled networks are cached between runs of the suite.
os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(Path(tempfile.gettempdir()) / "noisemill-tests-compiled"))

import hypothesis
import pytest
from redis import Redis
from redis.exceptions import RedisError

from serve import redis_server
from tests.service import Service, running

# No deadlines, because the machine may be shared.
hypothesis.settings.register_profile("noisemill", deadline=None)
hypothesis.settings.load_profile("noisemill")

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis server for the test session."""
    state = tmp_path_factory.mktemp("redis")
    server = subprocess.Popen(redis_server.command(state))
    url = f"unix://{redis_server.socket_path(state)}"
    wait_for_redis(url)
    yield url
    server.terminate()
    server.wait(10)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """A client of the session's server, whose data are deleted first."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights: 8×8 grey, ten classes and the null class."""
    import torch

    from model import checkpoint
    from model.networks.unet import UNet, UNetConfig
    from model.sampling.schedule import Schedule

    torch.manual_seed(0)
    config = UNetConfig(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        num_class_embeds=11,
    )
    path = tmp_path_factory.mktemp("models") / "tiny"
    card = checkpoint.Card(classes=tuple("0123456789"), data={"source": "digits"})
    checkpoint.save(path, UNet(config), Schedule(), card)
    return path


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The service with the reference models, as `make serve` starts it."""
    with running(Service(ROOT / "checkpoints", tmp_path_factory.mktemp("service"))) as service:
        yield service


def wait_for_redis(url: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
