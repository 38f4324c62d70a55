"""The machine that renders: its device, processes, threads and locks."""
