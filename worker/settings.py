"""A worker's settings, from environment variables NOISEMILL_… or the command line."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOISEMILL_", frozen=True)

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="The Redis of jobs and results.")
    models: Path = Field(Path("checkpoints"), description="Folder of checkpoints to serve, one per subfolder.")
    slots: int = Field(1024, ge=1, le=4096, description="Maximum batch size; the best one up to it is measured.")
    deterministic: bool = Field(True, description="On CUDA: the same bytes in any batch, at the cost of speed.")
    device: str | None = Field(None, description="cpu, cuda or cuda:N; by default CUDA if available.")
    max_count: int = Field(4096, ge=1, le=100_000, description="Maximum count of one request.")
    keep_days: float = Field(7, gt=0, description="Days for which ended jobs and their results are kept.")
    max_bytes: int = Field(
        1 << 30, ge=1 << 20, description="Memory of all jobs; above it the oldest ended are deleted."
    )
