"""Small pixel-space diffusion models: the network, the schedule, the samplers and the trainer.

Imports torch, and nothing of Redis, RQ or HTTP. Images are float in [-1, 1], shape (B, C, H, W), everywhere
except in `model.images`.
"""
