"""The ends of a strip: whether the neurons that they belong to are excited, and how well.

An end is dead if nothing that was rendered excites its neuron more than noise does. It is weak if it is not dead, but
keeps less than half of the neuron's reach, or its activation is not above 0.
"""

from __future__ import annotations

from collections.abc import Sequence

from core.atlas.records import Record

A_DEAD, B_DEAD, A_WEAK, B_WEAK = 1, 2, 4, 8
"""Bits of `ends_of`."""
_LEAST_KEPT = 0.5  # share of its reach that an end keeps unless it is weak


def ends_of(record: Record) -> int | None:
    """Return the bits of both ends, or None if neither is known to be dead or weak, and one was not measured.

    Records of older versions may lack the shares that are kept. Then an end is weak only if its activation is not above
    0.
    """
    bits = A_DEAD * record.dead_a + B_DEAD * record.dead_b
    if not record.dead_a and _is_weak(record.kept_a, record.activation_a[:1]):
        bits |= A_WEAK
    if not record.dead_b and _is_weak(record.kept_b, record.activation_b[-1:]):
        bits |= B_WEAK
    measured = None not in (record.reach_a, record.reach_b, record.noise_a, record.noise_b)
    return bits if bits or measured else None


def ends_in_words(record: Record) -> tuple[str | None, str | None]:
    """Return for the ends of a and b: strong, weak or dead; None if `ends_of` is."""
    bits = ends_of(record)
    if bits is None:
        return None, None
    a, b = (
        "dead" if bits & dead else "weak" if bits & weak else "strong"
        for dead, weak in ((A_DEAD, A_WEAK), (B_DEAD, B_WEAK))
    )
    return a, b


def _is_weak(kept: float | None, activation: Sequence[float]) -> bool:
    """Return whether an end that is not dead is weak; *activation* has one number, or none in failed pairs."""
    return (kept is not None and kept < _LEAST_KEPT) or any(value <= 0 for value in activation)
