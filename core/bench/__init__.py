"""Measuring: how close the step comes to the bare model, what a schedule reaches in which time, and large atlases.

Every figure that is compared is a ratio of times taken in turn within one run, because machines are shared and noisy.
"""
