"""Frames and numbers as pictures."""
