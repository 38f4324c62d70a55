"""A check that every golden value is tested, and the tests of values that the other golden tests leave out."""

from __future__ import annotations

from typing import Any

import golden_cases as golden
import numpy as np
import pytest
import tensorflow as tf
from golden_io import compare, load, rnd

from core.method import objectives as o
from core.method.color import COLOR_CORRELATION, COLOR_MEAN, to_valid_rgb
from core.method.spectrum import rfft2d_freqs, spectrum_to_image
from core.models.frozen_graph import FrozenGraph
from core.models.preprocessing import Preprocessing

TOLERANCE = 1e-5

spectra, _ = load("fft_image.npz")
colors, color_meta = load("color_image.npz")

TESTED_HERE = {"interp_b1_is_nan"}
CLIPPED = [case for case in color_meta["cases"] if case.get("sigmoid") is False]


def names(cases: list[dict[str, Any]]) -> list[str]:
    return [case["name"] for case in cases]


def test_every_golden_objective_is_tested_once() -> None:
    """The cases of the three golden modules are together all cases of the file, each once."""
    tested = names(golden.OBJECTIVES) + names(golden.FURTHER) + sorted(TESTED_HERE)

    assert sorted(tested) == sorted(names(golden.value_meta["cases"]))


def test_every_golden_color_is_tested() -> None:
    """Each case belongs either to `to_valid_rgb` or to `image`, and two cases have no sigmoid."""
    assert all(("sigmoid" in case) != ("kwargs" in case) for case in color_meta["cases"])
    assert names(CLIPPED) == ["dec1_sig0", "dec0_sig0"]


def test_every_golden_run_is_compared_with_an_image() -> None:
    """For each whole optimisation at least the image after the first update is compared."""
    assert set(golden.IMAGE_TOLERANCES) == set(names(golden.run_meta["cases"]))
    assert all(1 in tolerances for tolerances in golden.IMAGE_TOLERANCES.values())


def test_an_explicit_spectrum_gives_the_image_of_lucid() -> None:
    """The one spectrum that is stored in full gives the pixels that are stored with it."""
    image = spectrum_to_image(tf.constant(spectra["explicit.spectrum"]), spectra["explicit.image"].shape)

    np.testing.assert_allclose(
        image, spectra["explicit.image"], atol=TOLERANCE * np.abs(spectra["explicit.image"]).max()
    )


def test_the_frequencies_at_128_px_are_those_of_lucid() -> None:
    """All magnitudes agree, in samples and in sums."""
    error, largest = compare(spectra, "freqs_128x128", rfft2d_freqs(128, 128))

    assert error <= 1e-6 * largest


@pytest.mark.parametrize("case", CLIPPED, ids=lambda case: case["name"])
def test_the_gradient_of_clipped_colors_differs_from_lucids_only_outside_the_range(case: dict[str, Any]) -> None:
    """Inside the range both agree. Outside, Lucid passes only gradients that lead further out, and ours the others."""
    x = tf.constant(colors["x"])
    upstream = rnd(case["gseed"], x.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(to_valid_rgb(x, decorrelate=case["decorrelate"], sigmoid=False) * upstream)
    lucids, ours = colors[f"{case['name']}.grad"], tape.gradient(total, x).numpy()
    before_clip = colors["x"]
    if case["decorrelate"]:  # compare the gradients at the clip, which comes after the matrix
        before_clip = before_clip @ COLOR_CORRELATION.T + COLOR_MEAN
        lucids, ours = (gradient @ np.linalg.inv(COLOR_CORRELATION) for gradient in (lucids, ours))

    inside = (before_clip > 0) & (before_clip < 1)
    back = (before_clip >= 1) == (upstream > 0)  # descent moves against the gradient

    assert inside.any()
    assert (~inside & back).any()
    assert (~inside & ~back).any()
    np.testing.assert_allclose(ours, np.where(inside | back, upstream, 0), atol=1e-5)
    np.testing.assert_allclose(lucids, np.where(inside | ~back, upstream, 0), atol=1e-5)


def test_descent_brings_saturated_colors_back() -> None:
    """60 updates bring colours from outside either end of the range to a target inside it."""
    x = tf.Variable([[-0.7, 1.6, 0.5]])
    for _ in range(60):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum((to_valid_rgb(x, sigmoid=False) - [[0.3, 0.8, 0.4]]) ** 2)
        x.assign_sub(0.1 * tape.gradient(loss, x))

    np.testing.assert_allclose(x, [[0.3, 0.8, 0.4]], atol=1e-3)


def test_the_interpolation_of_one_frame_is_nan_for_lucid_and_finite_here() -> None:
    """For a single frame Lucid divides by zero; our value and gradient are finite."""
    [case] = [case for case in golden.value_meta["cases"] if case["name"] == "interp_b1_is_nan"]
    [(layer, made)] = case["acts"].items()
    t = tf.constant(rnd(made["seed"], made["shape"]))
    with tf.GradientTape() as tape:
        tape.watch(t)
        value = o.channel_interpolate(layer, 3, layer, 1)({layer: t}.__getitem__)

    assert t.shape[0] == 1
    assert np.isnan(golden.values["interp_b1_is_nan.value"])
    assert np.isfinite(value)
    assert np.isfinite(tape.gradient(value, t)).all()


def test_the_start_of_the_runs_is_that_of_lucid() -> None:
    """The image before any update agrees, and so do the activations of every layer of the tiny network."""
    net = FrozenGraph(golden.GOLDEN / "tiny_net.pb", input_node="input", preprocessing=Preprocessing((-117, 138)))
    layers = {key.split(".")[2].split("__")[0] for key in golden.runs.files if key.startswith("init.act.")}
    image = golden.start(golden.run_meta["cases"][0])()

    found = net.activations(image, layers)

    assert layers == {"layer1", "layer1_pre_relu", "layer2", "layer3", "layer3_pre_relu", "mixed", "mixed_pre_relu"}
    for key, got in (("init.image", image), *((f"init.act.{layer}", t) for layer, t in found.items())):
        error, largest = compare(golden.runs, key, got)
        assert error <= TOLERANCE * largest, key
