"""Prefect tasks: thin shells around functions of `core`."""
