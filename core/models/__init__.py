"""Image models: the kinds that a spec can name, each in a module of its own, and the readers of their weights."""
