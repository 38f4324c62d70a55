"""Image models, and the readers of their weights."""
