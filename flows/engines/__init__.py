"""Engines, which render the chunks of a plan: in processes here, on a Ray cluster, or on workers elsewhere."""
