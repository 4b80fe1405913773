"""The trainer, its recipes and its log."""
