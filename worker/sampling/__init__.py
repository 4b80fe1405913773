"""Sampling jobs: RQ adapter, batch engine, compiled network, publisher."""
