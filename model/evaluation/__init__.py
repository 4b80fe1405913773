"""Evaluation of a model: metrics, likelihood and figures."""
