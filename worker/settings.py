"""What a worker can be told, by environment variables named NOISEMILL_… or by its command line."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class WorkerSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOISEMILL_", frozen=True)

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Where jobs come from and results go.")
    models: Path = Field(Path("checkpoints"), description="Folder of checkpoints to serve, one a subfolder.")
    slots: int = Field(1024, ge=1, le=4096, description="Most images in a batch; how many are best is measured.")
    deterministic: bool = Field(True, description="On CUDA: the same bytes in whatever batch, at the cost of speed.")
    device: str | None = Field(None, description="cpu, cuda or cuda:N; CUDA by default where there is a GPU.")
    max_count: int = Field(4096, ge=1, le=100_000, description="Images that one request may ask for.")
    keep_days: float = Field(7, gt=0, description="How long jobs and results stay.")
    max_bytes: int = Field(1 << 30, ge=1 << 20, description="Redis memory above which the oldest ended jobs go.")
