"""The history of a schedule."""

from __future__ import annotations

import numpy as np

from core.bench.quality import draw_pairs, follow
from core.models.model import Model
from core.pictures.plot import plot_histories
from core.spec import RenderSettings


def test_a_history_is_measured_on_the_frames_themselves(model: Model) -> None:
    """The last point agrees with the activations of the strips, and the objective grows towards it."""
    pairs = draw_pairs(model, ["stem", "block0"], 2)
    settings = RenderSettings.model_validate(
        {"frames": 3, "size_px": 32, "steps": 9, "redirected_updates": 0, "alignment": {"layers": ["stem_pre_relu"]}}
    )
    history, strips = follow(model, pairs, settings)

    weights = np.array([0, 0.5, 1])
    reached = [((1 - weights) * strip.activation_a + weights * strip.activation_b).sum() for strip in strips]
    np.testing.assert_allclose(history.objective[-1], np.mean(reached), rtol=1e-3)
    assert len(pairs) == len(strips) == 4
    assert history.updates == (1, 2, 3, 4, 6, 7, 8, 9)
    assert history.objective[0] < history.objective[-1]
    assert list(history.seconds) == sorted(history.seconds)
    assert max(history.alignment) <= 0


def test_pairs_are_drawn_inside_layers_and_always_the_same(model: Model) -> None:
    """Each layer gets the same number of pairs, and drawing again gives the same pairs."""
    pairs = draw_pairs(model, ["block1", "block2"], 3)

    assert [pair.layers for pair in pairs] == [("block1", "block1")] * 3 + [("block2", "block2")] * 3
    assert pairs == draw_pairs(model, ["block1", "block2"], 3)


def test_histories_are_drawn_over_a_common_axis() -> None:
    """A history that ends at half the time ends in the middle of the panel; each history has its own colour."""
    pixels = plot_histories({"objective": {"long": ([1, 4], [0, 1]), "short": ([1, 2], [0, 1])}}, "s")

    def columns(color: tuple[int, int, int]) -> np.ndarray:
        below_title = pixels[46:]
        return np.flatnonzero((below_title == color).all(axis=2).any(axis=0))

    long, short = columns((11, 87, 208)), columns((179, 86, 0))
    left = pixels.shape[1] - 2 * 56
    assert abs(long.max() - (56 + left)) <= 2
    assert abs(short.max() - (56 + left / 2)) <= 2
