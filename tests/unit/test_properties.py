"""Properties that every parameterization and every objective must have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tensorflow as tf
from golden_io import rnd
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import RenderDivergedError, ShapeError, SpecError
from core.method import objectives as o
from core.method import parameterization as p
from core.method import transforms as t
from core.method.optimise import Adam, render
from core.method.resize import resized_sum
from core.models.frozen_graph import FrozenGraph
from core.models.preprocessing import Preprocessing

SIZE = 32
OTHER_SIZES = (33, 50, 100, 150, 181)  # no multiples of 16, the largest divisor of the size
CAT = tf.image.resize(skimage.data.cat()[None, :300, 75:375] / 255, (SIZE, SIZE), antialias=True)

PARAMETERIZATIONS: dict[str, Callable[[], p.Parameterization]] = {
    "image": lambda: p.image(SIZE),
    "image without decorrelation": lambda: p.image(SIZE, decorrelate=False),
    "image of pixels": lambda: p.image(SIZE, fft=False),
    "fft_image": lambda: p.fft_image((1, SIZE, SIZE, 3)),
    "pixel_image": lambda: p.pixel_image((1, SIZE, SIZE, 3)),
    "lowres_tensor": lambda: p.lowres_tensor((2, SIZE, SIZE, 3), (1, SIZE, SIZE, 3)),
    "sum of parts": lambda: p.pixel_image((1, SIZE, SIZE, 3)) + p.lowres_tensor((1, SIZE, SIZE, 3), (1, 8, 8, 3)),
    "shared_interpolation": lambda: p.shared_interpolation(3, SIZE),
    "independent frames": lambda: p.shared_interpolation(2, SIZE, sharing=False),
}


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_every_parameterization_can_become_a_photograph(name: str) -> None:
    """200 updates bring every frame close to a photograph of a cat, and reduce the difference to less than a tenth."""
    made = PARAMETERIZATIONS[name]()
    adam = Adam(made.variables)

    @tf.function(autograph=False)
    def difference(update: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((made() - tf.cast(CAT, tf.float32)) ** 2)
        adam.descend(tape.gradient(loss, made.variables), update)
        return loss

    losses = [float(difference(tf.constant(update))) for update in range(1, 201)]

    assert losses[-1] < 0.004
    assert losses[-1] < losses[0] / 10


@pytest.mark.parametrize("size_px", OTHER_SIZES)
def test_strips_of_any_size_depend_on_all_their_variables_and_not_on_their_batch(size_px: int) -> None:
    """Each stored value has a gradient, pixels lie in [0, 1], and two strips together are, to the bit, those alone."""
    toward = tf.constant(rnd(5, (3, size_px, size_px, 3)))

    def rendered(*seeds: int) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Return the strips of some seeds, and the gradient of each variable."""
        made = p.shared_interpolation(3, size_px, strips=len(seeds))
        p.start_shared(made.variables, seeds, 1.0)
        with tf.GradientTape() as tape:
            strips = tf.reshape(made(), (-1, *toward.shape))
            goal = tf.reduce_sum(strips * toward)
        return strips, tape.gradient(goal, made.variables)

    together, gradients = rendered(1, 2)
    alone = [rendered(seed) for seed in (1, 2)]

    assert 0 <= together.numpy().min() < 0.1 < 0.9 < together.numpy().max() <= 1
    np.testing.assert_array_equal(together, tf.concat([strips for strips, _ in alone], axis=0))
    for number, gradient in enumerate(gradients):
        np.testing.assert_array_equal(gradient, tf.concat([found[number] for _, found in alone], axis=0))
        nothing = np.mean(gradient.numpy() == 0)
        assert nothing == 0 if number else nothing < 0.05  # some phases of a spectrum have no effect


@pytest.mark.parametrize("size_px", OTHER_SIZES)
@pytest.mark.parametrize("cell_px", [2, 4, 8, 16])
def test_a_stored_value_covers_as_many_pixels_in_images_of_any_size(size_px: int, cell_px: int) -> None:
    """Every *cell_px* pixels the image has a stored value; it is the corner of the image with the next larger size."""
    stored = -(-size_px // cell_px)
    term = tf.Variable(rnd(6, (1, 3, stored, stored)))

    image = resized_sum([term], [cell_px], size_px).numpy()
    larger = resized_sum([term], [cell_px], stored * cell_px).numpy()

    assert image.shape == (1, 3, size_px, size_px)
    np.testing.assert_allclose(image[..., ::cell_px, ::cell_px], term, atol=1e-6)
    np.testing.assert_allclose(image, larger[..., :size_px, :size_px], atol=1e-6)


@pytest.fixture(scope="module")
def tiny_net() -> FrozenGraph:
    return FrozenGraph(Path(__file__).parents[1] / "golden" / "tiny_net.pb", preprocessing=Preprocessing((-117, 138)))


OBJECTIVES: dict[str, o.Objective] = {
    "channel": o.channel("layer3_pre_relu", 5),
    "channel of one frame": o.channel("layer3_pre_relu", 5, batch=1),
    "channel of a slice": o.channel("layer3_pre_relu", 5, batch=slice(1, 3)),
    "written": o.Objective.of("mixed_pre_relu:4"),
    "neuron": o.neuron("layer3_pre_relu", 5),
    "direction": o.direction("layer2", np.linspace(-1, 1, 16, dtype=np.float32)),
    "direction with cosine": o.direction("layer2", np.linspace(-1, 1, 16, dtype=np.float32), cossim_pow=1),
    "direction in the middle": o.direction_neuron("layer2", np.linspace(-1, 1, 16, dtype=np.float32)),
    "channel_interpolate": o.channel_interpolate("layer2", 7, "mixed", 20),
    "deepdream": o.deepdream("layer2"),
    "less diversity": -1.0 * o.diversity("layer2"),
    "closer to grey": -1.0 * o.l2(constant=0.5),
    "smoother": -1.0 * o.total_variation(),
    "darker": -1.0 * o.l1(),
    "a sum": o.channel("layer3_pre_relu", 5) + 0.1 * o.alignment("layer2") - o.channel("layer2", 3) + 2,
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_rises_and_images_stay_in_range(tiny_net: FrozenGraph, name: str) -> None:
    """12 updates raise the objective, and all colours lie in [0, 1]."""
    rendering = render(
        tiny_net,
        OBJECTIVES[name],
        p.image(SIZE, batch=3, sd=0.3),
        checkpoints=[12],
        transforms=(),
        redirected_updates=0,
        seed=1,
    )

    assert rendering.objective[-1] > rendering.objective[0]
    assert 0 <= rendering.final.min() <= rendering.final.max() <= 1
    assert rendering.final.shape == (3, SIZE, SIZE, 3)


@pytest.mark.parametrize("name", ["channel_interpolate", "direction with cosine", "less diversity", "a sum"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    """The slope along a random direction equals a central difference."""
    objective = OBJECTIVES[name]
    sizes = {"layer2": 16, "layer3_pre_relu": 20, "mixed": 24}
    activations = {layer: tf.constant(rnd(3, (4, 5, 6, sizes[layer]))) for layer in objective.layers}
    along = {layer: tf.constant(rnd(4, a.shape)) for layer, a in activations.items()}

    def moved(step: float) -> float:
        return float(objective(lambda layer: activations[layer] + step * along[layer]))

    with tf.GradientTape() as tape:
        tape.watch(list(activations.values()))
        value = objective(activations.__getitem__)
    gradients = tape.gradient(value, activations)

    slope = sum(float(tf.reduce_sum(gradients[layer] * along[layer])) for layer in activations)
    assert slope == pytest.approx((moved(0.01) - moved(-0.01)) / 0.02, rel=0.02, abs=2e-3)


@given(frames=st.integers(2, 9), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_ends_of_an_interpolation_are_the_single_neurons(frames: int, seed: int) -> None:
    """In the first frame only the first neuron counts, and in the last frame only the second."""
    a = rnd(seed, (frames, 3, 4, 5))
    interpolation = o.channel_interpolate("x", 1, "x", 3)

    def value(t: np.ndarray) -> float:
        return float(interpolation({"x": tf.constant(t)}.__getitem__))

    lifted_first, lifted_last = a.copy(), a.copy()
    lifted_first[0, ..., 1] += 1
    lifted_first[0, ..., 3] += 50
    lifted_last[-1, ..., 3] += 1
    lifted_last[-1, ..., 1] += 50
    assert value(lifted_first) - value(a) == pytest.approx(1, abs=1e-3)
    assert value(lifted_last) - value(a) == pytest.approx(1, abs=1e-3)


@given(frames=st.integers(2, 9), seed=st.integers(0, 1000), size_px=st.sampled_from((SIZE, *OTHER_SIZES)))
@settings(max_examples=20, deadline=None)
def test_mirrored_variables_give_the_mirror_of_the_strip(frames: int, seed: int, size_px: int) -> None:
    """Reversing the spectra and the key frames reverses the frames and changes nothing else."""
    forth, back = (p.shared_interpolation(frames, size_px, sd=1.0, seed=seed) for _ in range(2))
    mirror(forth, back)

    np.testing.assert_allclose(forth(), back().numpy()[::-1], atol=1e-5)


def test_lucids_key_frames_have_no_mirror() -> None:
    """With Lucid's weights, reversed variables give other frames, because the weights favour the second end."""
    forth, back = (p.shared_interpolation(6, SIZE, key_frames="lucid", sd=1.0) for _ in range(2))
    mirror(forth, back)

    assert np.abs(forth().numpy() - back().numpy()[::-1]).max() > 0.1


def test_the_strip_of_the_reversed_pair_is_the_mirror(tiny_net: FrozenGraph) -> None:
    """A whole optimisation from b to a that starts with mirrored values ends with mirrored frames."""
    forth, back = (p.shared_interpolation(5, SIZE, seed=3) for _ in range(2))
    mirror(forth, back)
    aligned = 0.1 * o.alignment("layer2", 5)
    runs = [
        render(
            tiny_net,
            o.channel_interpolate(*ends) + aligned,
            made,
            checkpoints=[16],
            transforms=(),
            redirected_updates=0,
        )
        for ends, made in ((("layer2", 7, "mixed", 20), forth), (("mixed", 20, "layer2", 7), back))
    ]

    np.testing.assert_allclose(runs[0].final, runs[1].final[::-1], atol=1e-3)
    np.testing.assert_allclose(runs[0].objective, runs[1].objective, rtol=1e-4, atol=1e-4)


def mirror(forth: p.Parameterization, back: p.Parameterization) -> None:
    """Assign to *back* the values of *forth* with the frames, and the key frames, in reverse order."""
    for one, other in zip(forth.variables, back.variables, strict=True):
        other.assign(tf.reverse(one, [0]))


@given(frames=st.integers(2, 9), decay=st.floats(0.5, 10), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_alignment_is_the_sum_of_all_differences_up_to_four_apart(frames: int, decay: float, seed: int) -> None:
    """The quadratic form agrees with the definition, which NumPy computes pair by pair."""
    a = rnd(seed, (frames, 3, 4, 5)).astype(np.float64)
    expected = -sum(((a[i] - a[i + d]) ** 2).mean() / decay**d for d in range(1, 5) for i in range(frames - d))

    got = float(o.alignment("x", decay)({"x": tf.constant(a, tf.float32)}.__getitem__))

    assert got == pytest.approx(expected, rel=1e-4)


def test_rendering_reports_progress_and_accepts_another_optimizer(tiny_net: FrozenGraph) -> None:
    """The callback gets the number of updates and the objective; a higher learning rate changes the image more."""
    seen: list[tuple[int, float]] = []
    start = p.image(SIZE).image().numpy()
    slow, fast = (
        render(
            tiny_net,
            "layer3_pre_relu:5",
            p.image(SIZE),
            checkpoints=(2, 70),
            redirected_updates=0,
            optimizer=lambda variables, rate=rate: Adam(variables, rate),
            progress=lambda update, value: seen.append((update, value)),
        )
        for rate in (0.001, 0.05)
    )

    assert [update for update, _ in seen] == [2, 66, 70] * 2
    assert seen[2][1] == pytest.approx(float(slow.objective[-1]))
    assert list(slow.images) == [2, 70]
    assert np.abs(fast.final - start).mean() > 2 * np.abs(slow.final - start).mean()


def test_a_seed_draws_the_same_views_to_the_last_bit() -> None:
    """The same seed gives the same view exactly, and a tuple of transforms does the same as a list."""
    x = tf.constant(rnd(8, (2, SIZE, SIZE, 3)))
    for step in range(8):
        seed = tf.constant([1, step])
        np.testing.assert_array_equal(t.compose(t.LUCID)(x, seed), t.compose(list(t.LUCID))(x, seed))


def test_a_seed_gives_the_same_picture_up_to_rounding(tiny_net: FrozenGraph) -> None:
    """The same seed gives the same picture; another seed gives another.

    The pictures need not agree to the last bit: for images whose size changes from step to step, TensorFlow's
    convolutions rounded differently in about one of twenty runs. Strips of an atlas have one size and are exact
    (test_strip).
    """
    one, same, other = (
        render(
            tiny_net, "mixed:4", p.image(SIZE), checkpoints=[8], transforms=chain, redirected_updates=0, seed=seed
        ).final
        for chain, seed in ((t.LUCID, 1), (list(t.LUCID), 1), (t.LUCID, 2))
    )

    np.testing.assert_allclose(one, same, atol=1e-5)
    assert np.abs(one - other).max() > 0.01


def test_invalid_arguments_and_nan_objectives_are_errors(tiny_net: FrozenGraph) -> None:
    """No updates, an objective of nan and shapes that do not fit are errors that say so."""
    with pytest.raises(SpecError, match="checkpoints: expected positive numbers"):
        render(tiny_net, "mixed:4", checkpoints=[0])
    with pytest.raises(RenderDivergedError, match=r"at update 1$"):
        render(tiny_net, float("nan") * o.channel("mixed", 4), p.image(SIZE), checkpoints=[3], redirected_updates=0)
    with pytest.raises(ShapeError, match="one rank"):
        p.lowres_tensor((6, 8, 8, 3), (1, 8, 8))
    with pytest.raises(ShapeError, match="offsets"):
        p.lowres_tensor((2, 8, 8, 3), (1, 4, 4, 3), offset=9)
    with pytest.raises(ShapeError, match="positive sizes"):
        p.fft_image((1, 0, 8, 3))
    with pytest.raises(ShapeError, match="init_val"):
        p.pixel_image((1, 8, 8, 3), init_val=np.zeros((8, 8, 3), np.float32))
    with pytest.raises(ShapeError, match="alpha or channels"):
        p.image(8, alpha=True, channels=2)
