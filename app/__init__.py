"""HTTP only: never imports torch, worker or model."""
