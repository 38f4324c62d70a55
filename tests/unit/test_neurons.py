"""The notation of neurons, and pairs, which have no direction."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import SpecError
from core.neurons import Neuron, Pair, distinct_pairs, parse_range

LAYERS = st.sampled_from(["stem", "block2", "block9", "block09", "block10", "block9_expand_pre_relu", "mixed4a", "4"])
ANY_LAYERS = st.text(min_size=1) | st.text(' :"\\\n-0a', min_size=1)
NEURONS = st.builds(Neuron, LAYERS, st.integers(0, 999_999_999))

MALFORMED = [
    *("", "block9", "block9:", ":17", "block9:x", "block9:-1", "block9:1.5", "block9: 17"),
    *("block9 :17", '"":1', '"\\q":1'),
    *("block9:1-", "block9:-5-7", "block9:1-2-3", "block9:1234567890", "block9:١٧", "block9:17\nblock9:18"),
]


@given(NEURONS | st.builds(Neuron, ANY_LAYERS, st.integers(0, 999_999_999)))
def test_a_neuron_is_read_as_it_is_written(neuron: Neuron) -> None:
    """Reading the notation of a neuron gives the neuron, with or without white space around it."""
    assert Neuron.parse(str(neuron)) == neuron
    assert Neuron.parse(f"  {neuron}\n") == neuron


@pytest.mark.parametrize(
    ("layer", "written"),
    [
        ("block 1/conv:0", "block 1/conv:0:17"),
        ("a, b:0-9", "a, b:0-9:17"),
        ("'größe'", "'größe':17"),
        ('"quoted" in part', '"quoted" in part:17'),
        (" padded", '" padded":17'),
        ("two\nlines", '"two\\nlines":17'),
        ('"quoted"', '"\\"quoted\\"":17'),
        ("no\u00a0break", '"no\\u00a0break":17'),
    ],
)
def test_the_channel_follows_the_last_colon_and_strange_names_are_quoted(layer: str, written: str) -> None:
    """Spaces, colons and slashes are written as they are; a name that would be misread is a JSON string in ASCII."""
    assert str(Neuron(layer, 17)) == written
    assert parse_range(f"{written}-19") == (layer, range(17, 20))
    assert Neuron.parse('"block 1/conv:0":17') == Neuron("block 1/conv:0", 17)  # quotes are allowed around any name


def test_a_range_names_both_its_ends() -> None:
    """`layer:first-last` is all channels from first to last, both included, and one channel is a range of one."""
    assert parse_range("mixed4a:3-6") == ("mixed4a", range(3, 7))
    assert list(parse_range("mixed4a:5-5")[1]) == [5]
    assert list(parse_range("mixed4a:476")[1]) == [476]


@pytest.mark.parametrize("text", MALFORMED)
def test_text_that_is_not_a_neuron_is_refused_in_one_line(text: str) -> None:
    """The message has the text and the expected notation."""
    for parse in (Neuron.parse, parse_range):
        with pytest.raises(SpecError, match="layer:channel") as caught:
            parse(text)

        assert repr(text) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_range_that_runs_backwards_is_refused() -> None:
    """The first channel must not be greater than the last."""
    with pytest.raises(SpecError, match=r"first <= last, got 'block9:7-3'"):
        parse_range("block9:7-3")


@pytest.mark.parametrize("text", ["block9:3-7", "block9:3-3"])
def test_a_range_is_not_one_neuron(text: str) -> None:
    """A range, even of one channel, is refused where one neuron is expected."""
    with pytest.raises(SpecError, match="expected one neuron"):
        Neuron.parse(text)


@given(NEURONS, NEURONS)
def test_a_pair_is_the_same_in_either_order(first: Neuron, second: Neuron) -> None:
    """(b, a) equals (a, b) and has both neurons; a neuron has no pair with itself."""
    if first == second:
        with pytest.raises(SpecError, match="two different neurons"):
            Pair.of(first, second)
        return
    pair = Pair.of(first, second)

    assert pair == Pair.of(second, first)
    assert set(pair) == {first, second}
    assert pair.a.order < pair.b.order


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("block9:500", "block10:3"),  # numbers in names count as numbers, and the layer before the channel
        ("block9:9", "block9:10"),
        ("block2:7", "head:0"),
        ("block2_expand:7", "block10:0"),
    ],
)
def test_a_strip_runs_from_the_neuron_that_sorts_first(first: str, second: str) -> None:
    """Layers sort naturally, then channels by number."""
    pair = Pair.of(Neuron.parse(second), Neuron.parse(first))

    assert [str(neuron) for neuron in pair] == [first, second]


def test_pairs_are_kept_once_in_the_order_of_their_first_appearance() -> None:
    """A repeated or reversed pair is the same pair."""
    a, b, c = (Neuron("block9", channel) for channel in (1, 2, 3))

    pairs = list(distinct_pairs([(c, a), (b, a), (a, c), (a, b), (c, a), (b, c)]))

    assert pairs == [Pair(a, c), Pair(a, b), Pair(b, c)]


@given(st.lists(st.tuples(NEURONS, NEURONS).filter(lambda pair: pair[0] != pair[1]), max_size=12))
def test_reversing_pairs_changes_nothing(pairs: list[tuple[Neuron, Neuron]]) -> None:
    """Reversed pairs give the same pairs, each once."""
    forwards = list(distinct_pairs(pairs))

    assert forwards == list(distinct_pairs((b, a) for a, b in pairs))
    assert len(set(forwards)) == len(forwards)
