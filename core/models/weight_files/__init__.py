"""Readers of weights files that are not trusted."""
