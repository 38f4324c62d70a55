"""Engines: the ways in which the chunks of a plan are rendered."""
