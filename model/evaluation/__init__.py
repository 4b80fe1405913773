"""How good a model is: metrics, likelihood, and figures for people."""
