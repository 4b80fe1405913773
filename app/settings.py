"""Settings of the app: environment variables named NOISEMILL_…, some of them options of its command line too."""

from __future__ import annotations

import re

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

HOST_NAME = re.compile(r"\*|(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


class AppSettings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="NOISEMILL_", frozen=True)

    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Redis for jobs and results.")
    keep_days: float = Field(7, gt=0, description="Days for which jobs, results and idempotency keys are kept.")
    max_queued: int = Field(1000, ge=1, description="Maximum number of queued jobs; one more is answered 429.")
    max_body_bytes: int = Field(
        1 << 18, ge=1024, description="Maximum size of a request body; a larger one is answered 413."
    )
    allowed_hosts: str = Field(
        "",
        description="Host names that are answered besides localhost and IP addresses, separated by commas; "
        "*.example.org allows subdomains, * any name.",
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _check_host_names(cls, names: str) -> str:
        for name in _split(names):
            if not HOST_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a host name: give names without scheme, port and path")
        return names

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset(_split(self.allowed_hosts))


def _split(names: str) -> list[str]:
    return [name.strip().lower() for name in names.split(",") if name.strip()]
