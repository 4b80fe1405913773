"""Networks: predict noise, clean images or v from noisy images and timesteps."""
