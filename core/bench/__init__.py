"""Benchmarks: an update against the bare model, the quality and time of the schedules, and large atlases.

Figures that are compared are ratios of times taken in turn within one run, because machines are shared and noisy.
"""
