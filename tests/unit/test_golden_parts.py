"""The parts of the method against values and gradients that Lucid's own code made, to a relative error of 1e-5."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from golden_cases import OBJECTIVES, values
from golden_io import compare, load, rnd
from lucid_layout import to_lucids, to_ours

from core.method import objectives as o
from core.method import spectrum
from core.method.color import COLOR_CORRELATION, COLOR_MEAN, to_valid_rgb
from core.method.parameterization import Parameterization, fft_image, image, lowres_tensor, shared_interpolation
from core.method.resize import key_frame_matrix, resize_matrix
from core.method.spectrum import rfft2d_freqs

TOLERANCE = 1e-5

spectra, spectra_meta = load("fft_image.npz")
lowres, lowres_meta = load("lowres.npz")
colors, color_meta = load("color_image.npz")
shared, shared_meta = load("interpolate_f.npz")


def name_of(case: dict[str, Any]) -> str:
    return str(case["name"])


def agrees(golden: Any, key: str, got: Any) -> None:
    error, largest = compare(golden, key, got)
    assert error <= TOLERANCE * largest, (key, error, largest)


def image_and_gradients(made: Parameterization, gseed: int) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Return the image, and the gradients of its inner product with the random numbers of the golden files."""
    with tf.GradientTape() as tape:
        pixels = made()
        total = tf.reduce_sum(pixels * rnd(gseed, pixels.shape))
    return pixels, tape.gradient(total, made.variables)


@pytest.mark.parametrize("gpu", [False, True], ids=["cpu", "gpu"])
@pytest.mark.parametrize("case", spectra_meta["cases"], ids=name_of)
def test_fft_images_are_those_of_lucid(case: dict[str, Any], gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd and even sizes, several channels and decay powers give Lucid's pixels and gradients, also in the GPU form."""
    monkeypatch.setattr(spectrum, "has_gpu", lambda: gpu)
    made = fft_image(case["shape"], decay_power=case["decay_power"])
    made.variables[0].assign(rnd(case["seed"], case["var_shape"], case["scale"]))

    pixels, [gradient] = image_and_gradients(made, case["gseed"])

    agrees(spectra, f"{case['name']}.image", pixels)
    agrees(spectra, f"{case['name']}.grad", gradient)


@pytest.mark.parametrize(("height", "width"), [(8, 6), (7, 10), (1, 4), (128, 128)])
def test_hermitian_edges_give_the_half_spectrum_of_the_real_image(height: int, width: int) -> None:
    """GPUs need the half spectrum of a real image: the one that results from transforming to the image and back."""
    dice = np.random.default_rng(0)
    half = dice.standard_normal((2, height, width // 2 + 1)) + 1j * dice.standard_normal((2, height, width // 2 + 1))

    expected = np.fft.rfft2(np.fft.irfft2(half, s=(height, width)))

    np.testing.assert_allclose(spectrum.hermitian_edges(half), expected, atol=1e-9)


def test_frequencies_are_those_of_lucid() -> None:
    """The magnitudes of the frequencies agree, with the additional column for odd widths."""
    np.testing.assert_allclose(rfft2d_freqs(8, 8), spectra["freqs_8x8"], rtol=1e-6)
    np.testing.assert_allclose(rfft2d_freqs(8, 9), spectra["freqs_8x9"], rtol=1e-6)


@pytest.mark.parametrize("case", lowres_meta["cases"], ids=name_of)
def test_lowres_tensors_are_those_of_lucid(case: dict[str, Any]) -> None:
    """Every rank, axis and offset gives Lucid's interpolation and gradient, and the offsets passed in do not change."""
    offset = list(case["offset"]) if isinstance(case["offset"], list) else case["offset"]
    made = lowres_tensor(case["shape"], case["underlying"], offset)
    made.variables[0].assign(rnd(case["seed"], case["underlying"]))

    pixels, [gradient] = image_and_gradients(made, case["gseed"])

    agrees(lowres, f"{case['name']}.out", pixels)
    agrees(lowres, f"{case['name']}.grad", gradient)
    assert offset == case["offset"]


def test_the_weights_of_key_frames_are_exactly_those_of_lucid() -> None:
    """Along one axis every weight equals that of the golden tables, without any tolerance."""
    tables = [key for key in lowres.files if key.startswith("W_")]
    assert len(tables) > 20
    for key in tables:
        out, stored = (int(part[1:]) for part in key.split("_")[1:])
        np.testing.assert_array_equal(resize_matrix(out, stored), lowres[key], key)


def test_symmetric_key_frames_are_their_own_mirror() -> None:
    """Reversing frames and key frames does not change the symmetric weights; Lucid's weights are not symmetric."""
    for frames, stored in ((6, 2), (5, 2), (7, 3)):
        weights = key_frame_matrix(frames, stored, "symmetric")
        np.testing.assert_allclose(weights, weights[::-1, ::-1], atol=1e-7)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(key_frame_matrix(6, 2, "symmetric")[:, 1], [0, 0.2, 0.4, 0.6, 0.8, 1], atol=1e-7)
    np.testing.assert_allclose(key_frame_matrix(6, 2, "lucid")[:, 1], [0, 1 / 3, 2 / 3, 1, 1, 1], atol=1e-6)


@pytest.mark.parametrize("case", [c for c in color_meta["cases"] if "sigmoid" in c], ids=name_of)
def test_colors_are_those_of_lucid(case: dict[str, Any]) -> None:
    """Every combination of options gives Lucid's colours, and with the sigmoid also its gradients.

    Without the sigmoid the gradient differs on purpose: see test_golden_whole.
    """
    x = tf.constant(colors["x"])
    with tf.GradientTape() as tape:
        tape.watch(x)
        rgb = to_valid_rgb(x, decorrelate=case["decorrelate"], sigmoid=case["sigmoid"])
        total = tf.reduce_sum(rgb * rnd(case["gseed"], rgb.shape))

    agrees(colors, f"{case['name']}.rgb", rgb)
    if case["sigmoid"]:
        agrees(colors, f"{case['name']}.grad", tape.gradient(total, x))


def test_clipped_colors_return_into_the_range() -> None:
    """Gradient descent moves values outside [0, 1] back towards the range, and never further out."""
    x = tf.constant([[-0.5, -0.5, 1.5, 1.5, 0.5, 0.5]])
    upstream = tf.constant([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0]])  # descent moves against the gradient
    with tf.GradientTape() as tape:
        tape.watch(x)
        total = tf.reduce_sum(to_valid_rgb(x, sigmoid=False) * upstream)

    assert tape.gradient(total, x).numpy().tolist() == [[0, -1, 1, 0, 1, -1]]


def test_the_color_matrix_is_that_of_lucid() -> None:
    """The normalised matrix and the mean colour agree."""
    np.testing.assert_allclose(COLOR_CORRELATION, colors["matrix_normalized"], rtol=1e-6)
    np.testing.assert_allclose(COLOR_MEAN, colors["color_mean"], rtol=1e-6)


@pytest.mark.parametrize("case", [c for c in color_meta["cases"] if "kwargs" in c], ids=name_of)
def test_images_are_those_of_lucid(case: dict[str, Any]) -> None:
    """`image` with each of its options gives Lucid's pixels and gradients."""
    options = dict(case["kwargs"])
    made = image(options.pop("w"), options.pop("h", None), **options)
    made.variables[0].assign(rnd(case["seed"], case["var_shape"], case["scale"]))

    pixels, [gradient] = image_and_gradients(made, case["gseed"])

    agrees(colors, f"{case['name']}.image", pixels)
    agrees(colors, f"{case['name']}.grad", gradient)


@pytest.mark.parametrize("case", shared_meta["cases"], ids=name_of)
def test_the_shared_interpolation_is_that_of_the_notebook(case: dict[str, Any]) -> None:
    """The image agrees with `interpolate_f`, and so do the gradients of all seven variables."""
    made = shared_interpolation(case["n"], case["size"], key_frames="lucid")
    for variable, seed, shape, scale in zip(
        made.variables, case["seeds"], case["var_shapes"], case["scales"], strict=True
    ):
        variable.assign(to_ours(rnd(seed, shape, scale)))

    pixels, gradients = image_and_gradients(made, case["gseed"])

    agrees(shared, f"{case['name']}.image", pixels)
    for number, gradient in enumerate(gradients):
        agrees(shared, f"{case['name']}.grad{number}", to_lucids(gradient.numpy()))


@pytest.mark.parametrize("case", OBJECTIVES, ids=name_of)
def test_objectives_and_their_algebra_are_those_of_lucid(case: dict[str, Any]) -> None:
    """Values and gradients agree for each objective, and for sums, products and slices of the batch."""
    activations = {name: tf.constant(rnd(a["seed"], a["shape"])) for name, a in case["acts"].items()}
    objective = eval(case["expr"].replace("o.as_objective", "o.Objective.of"), {"o": o, "np": np})

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(list(activations.values()))
        value = objective(activations.__getitem__)

    assert objective.layers == set(activations)
    agrees(values, f"{case['name']}.value", value)
    for name, activation in activations.items():
        agrees(values, f"{case['name']}.grad.{name}", tape.gradient(value, activation))


def test_the_interpolation_of_one_frame_is_the_first_channel() -> None:
    """A single frame, for which Lucid's interpolation gives nan, has the value of the first channel."""
    t = tf.constant(rnd(416, (1, 6, 7, 5)))

    interpolation = o.channel_interpolate("a", 3, "a", 1)({"a": t}.__getitem__)

    assert float(interpolation) == pytest.approx(float(o.channel("a", 3)({"a": t}.__getitem__)))
