"""Following a schedule on its way."""

from __future__ import annotations

import numpy as np

from core.bench.quality import draw_pairs, follow
from core.models.models import Model
from core.pictures.plot import plot_curves
from core.spec import RenderSettings


def test_a_course_is_judged_on_the_frames_themselves(model: Model) -> None:
    """Its end is what the strips' own measurements say, and its points lie between nothing and the end."""
    pairs = draw_pairs(model, ["stem", "block0"], 2)
    settings = RenderSettings.model_validate(
        {"frames": 3, "size_px": 32, "steps": 9, "redirected_updates": 0, "alignment": {"layers": ["stem_pre_relu"]}}
    )
    course, strips = follow(model, pairs, settings)

    weights = np.array([0, 0.5, 1])
    reached = [((1 - weights) * strip.activation_a + weights * strip.activation_b).sum() for strip in strips]
    np.testing.assert_allclose(course.objective[-1], np.mean(reached), rtol=1e-3)
    assert len(pairs) == len(strips) == 4
    assert course.updates == (1, 2, 3, 4, 6, 7, 8, 9)
    assert course.objective[0] < course.objective[-1]
    assert list(course.seconds) == sorted(course.seconds)
    assert max(course.alignment) <= 0


def test_pairs_are_drawn_inside_layers_and_always_the_same(model: Model) -> None:
    """As many in each layer, and the same ones for every schedule."""
    pairs = draw_pairs(model, ["block1", "block2"], 3)

    assert [pair.layers for pair in pairs] == [("block1", "block1")] * 3 + [("block2", "block2")] * 3
    assert pairs == draw_pairs(model, ["block1", "block2"], 3)


def test_courses_are_drawn_over_a_common_axis() -> None:
    """A course that ends at half the time ends in the middle of the panel; each has a colour of its own."""
    pixels = plot_curves({"objective": {"long": ([1, 4], [0, 1]), "short": ([1, 2], [0, 1])}}, "s")

    def columns(color: tuple[int, int, int]) -> np.ndarray:
        below_title = pixels[46:]
        return np.flatnonzero((below_title == color).all(axis=2).any(axis=0))

    long, short = columns((11, 87, 208)), columns((179, 86, 0))
    left = pixels.shape[1] - 2 * 56
    assert abs(long.max() - (56 + left)) <= 2
    assert abs(short.max() - (56 + left / 2)) <= 2
