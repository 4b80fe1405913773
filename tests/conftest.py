"""What every test may lean on. Real parts only: a real Redis, a real worker process, HTTP through the app."""

from __future__ import annotations

import os

# Before torch loads OpenMP: threads that sleep at a barrier share two cores far better than threads that spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
