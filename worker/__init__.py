"""Takes jobs from RQ and runs the reverse process in batches. Never imports app or fastapi."""
