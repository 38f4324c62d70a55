"""Checked graphs of TensorFlow: their safety, parts, layers, and what feeds these."""
