"""Rendering the chunks of a plan and recording what became of them."""
