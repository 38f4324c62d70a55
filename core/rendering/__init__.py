"""Rendering: the chunks of a plan become pictures and records in a store."""
