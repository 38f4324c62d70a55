"""Prefect's view of the steps: thin shells round functions of `core`."""
