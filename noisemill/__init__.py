"""Noisemill: train small pixel-space diffusion models, serve them over HTTP, and sample from them."""
