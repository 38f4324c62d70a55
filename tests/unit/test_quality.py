"""The figures of `isthmus bench quality`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from command_line import Isthmus
from graphs import small_graph

from core.bench.quality import compare, draw_pairs, render_in_turn, settings_by_row
from core.errors import SpecError
from core.method.strip import Strip
from core.models.model import Model
from core.models.models import load
from core.neurons import Neuron, Pair
from core.spec import ModelSpec, RenderSettings

PLAIN = {"schedule": "plain", "mix": "lucid"}
SETTINGS = {row: RenderSettings.model_validate(PLAIN) for row in ("independent", "lucid")} | {
    "default": RenderSettings()
}


def pair(channel: int) -> Pair:
    return Pair.of(Neuron("here", channel), Neuron("here", channel + 1))


def strip(
    activation_a: Sequence[float],
    activation_b: Sequence[float],
    *,
    distance: float = 1,
    steps: Sequence[float] = (1, 1),
    noise: float = -10,
    seconds: float = 1,
) -> Strip:
    """Return a strip of three frames, half black and half white, with these numbers."""
    frames = np.zeros((3, 2, 2, 3), np.float32)
    frames[:, 0] = 1
    return Strip(
        frames=frames,
        objective=np.zeros(1, np.float32),
        activation_a=np.array(activation_a),
        activation_b=np.array(activation_b),
        neighbour_distance=np.full(2, distance),
        layer_distance={},
        steps=np.array(steps),
        noise=(noise, noise),
        checkpoints={},
        seconds=seconds,
    )


def figures(default: Sequence[Strip], independent: Sequence[Strip]) -> Mapping[str, object]:
    """Return the figures of `default`; those of `lucid` are the same strips with independent frames, in 2 s each."""
    lucid = [strip([4, 2, 0], [0, 2, 4], seconds=2) for _ in default]
    strips = {"independent": independent, "lucid": lucid, "default": default}
    return vars(compare([pair(channel) for channel in range(len(default))], strips, SETTINGS)[2])


def test_the_figures_of_strips_are_means_and_the_worst() -> None:
    """Two strips, one even and one whose crossing is early and whose pace is uneven, beside independent frames."""
    alone = strip([4, 2, 0], [0, 2, 4], distance=2)
    early = strip([2, 0, 0], [0, 4, 4], distance=1, steps=(4, 1), seconds=0.5)

    found = figures([strip([4, 3, 0], [0, 3, 4], seconds=9), early], [alone, alone])

    assert (found["strips"], found["pairs"], found["dead"]) == ("default", 2, 0)
    assert (found["crossing"], found["crossing_off"], found["crossing_near"]) == (0.375, 0.25, 0.5)
    assert (found["pace"], found["pace_worst"], found["layer_steps"]) == (2.5, 4, 1.75)
    assert found["neighbour_distance"] == 0.5
    assert (found["ends_kept"], found["ends_kept_worst"]) == (0.875, 0.5)
    assert found["inner"] == pytest.approx(((3 + 3) / 8 + (0 + 4) / 8) / 2, abs=1e-3)
    assert found["variance"] == 0.25
    assert (found["seconds"], found["share_of_lucid"]) == (0.5, 0.25), "the first pair includes the tracing"
    assert found["frame_updates"] == 2 * 64 + 4 * 40


def test_neurons_are_live_by_the_independent_frames() -> None:
    """A pair with a neuron that independent frames do not excite counts as dead only; a strip that fails counts."""
    alone, dead = strip([4, 2, 0], [0, 2, 4]), strip([4, 2, 0], [0, 2, 4], noise=4)
    failed = strip([1, 0, 0], [0, 0, 4], noise=1)

    found = figures([failed, alone, dead], [alone, alone, dead])

    assert (found["pairs"], found["dead"]) == (2, 2)
    assert (found["crossing"], found["crossing_near"]) == (0.5, 0.5), "a strip without crossing is not near the middle"
    assert (found["ends_kept"], found["ends_kept_worst"]) == (0.812, 0.25)


def test_no_figure_is_divided_by_an_end_that_is_not_positive() -> None:
    """An end that independent frames leave below 0 is left out of the ratios, and so is its pair's inner figure."""
    alone, negative = strip([4, 2, 0], [0, 2, 4]), strip([-1, -2, -3], [0, 2, 4])

    mixed = figures([alone, strip([-2, -3, -4], [0, 2, 2])], [alone, negative])
    only = figures([negative], [strip([-1, -2, -3], [-3, -2, 0])])

    assert (mixed["ends_kept"], mixed["ends_kept_worst"], mixed["inner"]) == (0.833, 0.5, 0.5)
    assert (only["ends_kept"], only["ends_kept_worst"], only["inner"]) == (None, None, None)
    assert (only["pairs"], only["seconds"]) == (1, None)


def test_frame_updates_are_those_of_all_stages() -> None:
    """Frames times updates: all of them with schedule plain, ends and inner frames with fast, inner ones of a walk."""
    assert RenderSettings.model_validate({"schedule": "plain"}).frame_updates("pair") == 6 * 256
    assert RenderSettings(frames=4).frame_updates("pair") == 2 * 64 + 2 * 40
    assert RenderSettings(frames=2).frame_updates("pair") == 2 * 64
    assert RenderSettings().frame_updates("walk") == 4 * 40


def test_every_way_is_rendered_and_measured_alike(tmp_path: Path) -> None:
    """A small network: one strip for each pair and way, and the steps of independent frames are measured too."""
    file = tmp_path / "net.pb"
    file.write_bytes(bytes(small_graph()))
    model = load(ModelSpec(name="frozen-graph", file=str(file)))
    pairs = draw_pairs(model, ["first_pre_relu"], 2)
    settings = settings_by_row(model, walk=True, aligned=["first"], frames=3, size_px=32, steps=4, redirected_updates=0)
    done: list[None] = []

    strips = render_in_turn(model, pairs, settings, lambda: done.append(None))
    rows = compare(pairs, strips, settings)

    assert list(strips) == [row.strips for row in rows] == ["independent", "lucid", "default", "walk"]
    assert [len(made) for made in strips.values()] == [2] * 4
    assert len(done) == 2
    assert [len(strip.steps) for made in strips.values() for strip in made] == [2] * 8
    assert not strips["independent"][0].layer_distance
    for strip in strips["default"]:
        in_units_of_the_layer = strip.layer_distance["first"] / strip.steps
        np.testing.assert_allclose(in_units_of_the_layer, in_units_of_the_layer[0], rtol=1e-4)
    assert (settings["independent"].alignment.weight, settings["lucid"].alignment.weight) == (0, 0.1)
    assert (settings["default"].mix, settings["walk"]) == ("balanced", settings["default"])


def test_pairs_are_drawn_inside_layers_and_across_them_and_always_the_same(model: Model) -> None:
    """Each layer gets the same number of pairs, further pairs have two layers, and drawing again gives the same."""
    layers = ["block1", "block2", "block3"]
    pairs = draw_pairs(model, layers, 2, across=5)

    inside, across = pairs[:6], pairs[6:]
    assert [pair.layers for pair in inside] == [(layer, layer) for layer in layers for _ in range(2)]
    assert len(across) == 5
    assert all(pair.a.layer != pair.b.layer for pair in across)
    assert [pair.layers for pair in across] == sorted(pair.layers for pair in across), "the same layers are neighbours"
    assert pairs == draw_pairs(model, layers, 2, across=5)
    assert len(draw_pairs(model, ["block1"], 2, across=5)) == 2


def test_layers_without_a_pair_are_refused(tmp_path: Path) -> None:
    """A layer of a single channel has no pair of neurons."""
    graph = small_graph()
    graph.convolution("single", "first", np.zeros((1, 1, 4, 1), np.float32))
    file = tmp_path / "net.pb"
    file.write_bytes(bytes(graph))

    with pytest.raises(SpecError, match="expected layers with at least 2 channels, single has 1"):
        draw_pairs(load(ModelSpec(name="frozen-graph", file=str(file))), ["first", "single"], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "keras:VGG16"], "--layer: expected a layer of keras:VGG16; isthmus models layers lists them"),
        (["--layer", "block77"], "--layer: expected a layer of efficientnet-lite0, got 'block77'"),
        (["--align", "block77"], "--align: expected a layer of efficientnet-lite0, got 'block77'"),
        (["--strips", "none/strips.webp"], "--strips: expected a file in an existing folder, none does not exist"),
    ],
)
def test_the_command_refuses_what_it_cannot_measure(isthmus: Isthmus, options: list[str], message: str) -> None:
    """Each mistake is one line that begins with the option, before anything is rendered."""
    said = isthmus("bench", "quality", *options)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"isthmus: {message}")
    assert said.err.count("\n") == 1
