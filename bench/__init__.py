"""Measurements: every ratio in one run, both sides in turn, the same weights in both."""
