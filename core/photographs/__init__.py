"""Photographs of a user: where they are, how they are read and decoded, and small pictures of them."""
