"""The noise schedule, the samplers and the counter-based noise."""
