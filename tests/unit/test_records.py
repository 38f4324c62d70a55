"""Records: reading what older versions wrote, and what is derived from the fields."""

from __future__ import annotations

import json

import pytest
from sample_records import record_of

from core.atlas.records import from_ndjson, to_ndjson

MEASURED = {"reach_a", "reach_b", "noise_a", "noise_b", "kept_a", "kept_b", "crossing", "pace"}


def test_records_are_read_as_they_were_written() -> None:
    """Every field, the measurements among them, comes back with its value."""
    written = [record_of("stem:0", "stem:1", crossing=0.25, kept_b=None), record_of("stem:0", "stem:2", "failed")]

    assert list(from_ndjson(to_ndjson(written), "here")) == written


def test_a_record_without_measurements_is_read() -> None:
    """Records of older versions have no reach, noise, kept share, crossing and pace; all of them are None then."""
    fields = json.loads(record_of("stem:0", "stem:1").to_line())
    line = json.dumps({name: value for name, value in fields.items() if name not in MEASURED})

    [record] = from_ndjson(line.encode(), "here")

    assert {getattr(record, name) for name in MEASURED} == {None}
    assert not record.dead_a
    assert not record.dead_b


@pytest.mark.parametrize(
    ("reach", "noise", "dead"), [(0.5, 0.4, False), (0.4, 0.4, True), (-0.2, -0.1, True), (None, 0.4, False)]
)
def test_a_neuron_is_dead_if_noise_excites_it_as_much(reach: float | None, noise: float, dead: bool) -> None:
    """A neuron is dead if its reach is not above noise, and not called dead if its reach is unknown."""
    assert record_of("stem:0", "stem:1", reach_a=reach, noise_a=noise).dead_a is dead
    assert record_of("stem:0", "stem:1", reach_b=reach, noise_b=noise).dead_b is dead
