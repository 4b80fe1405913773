"""Training: recipes, the trainer, its resume state and its log."""
