"""Benchmarks: every ratio comes from one run with both sides interleaved and the same weights."""
