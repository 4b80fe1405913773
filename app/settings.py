"""What the app can be told, by environment variables named NOISEMILL_… or by its command line."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AppSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOISEMILL_", frozen=True)

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Where jobs go and results come from.")
    keep_days: float = Field(7, gt=0, description="How long jobs, results and idempotency keys stay.")
    max_queued: int = Field(1000, ge=1, description="Jobs that may wait; one more is answered 429.")
    max_body_bytes: int = Field(1 << 18, ge=1024, description="Size of a request's body; a larger one is answered 413.")
