"""Lower precisions and XLA: settings for GPUs, tested on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from core.atlas.selection import resolve_settings
from core.machine import device
from core.method.network import network
from core.method.strip_renderer import StripRenderer
from core.models.model import Model
from core.neurons import Neuron, Pair
from core.spec import RenderSettings

LAYER = "block3_expand_pre_relu"
NEAR, SELECTED = "block0", "block1_expand_pre_relu"
"""Layers near the image, because the time for compiling grows with the depth. Of the second, channels are selected."""
PAIR = Pair.of(Neuron(LAYER, 3), Neuron(LAYER, 40))
SMALL = {"frames": 3, "size_px": 64, "steps": 24, "redirected_updates": 0, "alignment": {"layers": ["block1"]}}


def test_bfloat16_agrees_with_float32_on_a_finished_strip(model: Model) -> None:
    """The ends' activations agree to 1 %; images, variables and measured activations stay float32."""
    settings = resolve_settings(RenderSettings.model_validate(SMALL | {"precision": "bfloat16"}), model)
    made: list[tf.Variable] = []

    def noted(create: Callable[..., tf.Variable], **options: Any) -> tf.Variable:
        made.append(create(**options))
        return made[-1]

    with tf.variable_creator_scope(noted):
        renderer = StripRenderer(model, PAIR.layers, settings)
        [strip] = renderer.render([PAIR])
    plain = resolve_settings(RenderSettings.model_validate(SMALL), model)
    [expected] = StripRenderer(model, PAIR.layers, plain).render([PAIR])

    images = tf.constant(expected.frames)
    exact, rough = (network(model, {LAYER}, precision=p)(images, False, None)[LAYER] for p in ("float32", "bfloat16"))
    ends = [(0, PAIR.a.channel), (-1, PAIR.b.channel)]
    for frame, channel in ends:
        excited = tf.reduce_mean(exact[frame, ..., channel])
        assert float(excited) > 1
        np.testing.assert_allclose(tf.reduce_mean(rough[frame, ..., channel]), excited, rtol=0.01)
    assert {variable.dtype for variable in made if variable.dtype.is_floating} == {tf.float32}
    assert any(variable.trainable for variable in made)
    assert rough.dtype == tf.float32
    assert not np.array_equal(strip.frames, expected.frames)
    found = tf.reduce_mean(network(model, {LAYER})(tf.constant(strip.frames), False, None)[LAYER], axis=(1, 2))
    np.testing.assert_allclose(strip.activation_a, found[:, PAIR.a.channel], rtol=1e-3, atol=1e-3)
    assert strip.activation_a[0] > 0.9 * expected.activation_a[0]


@pytest.mark.parametrize("redirected", [False, True])
def test_xla_compiles_the_network_if_there_is_a_gpu(
    model: Model, monkeypatch: pytest.MonkeyPatch, redirected: bool
) -> None:
    """Without a GPU XLA compiles nothing; with XLA, activations and gradients are the same up to rounding."""
    images = tf.random.stateless_uniform((2, 32, 32, 3), seed=(1, 2))
    plain = network(model, {NEAR}, xla=True)
    assert not hasattr(plain, "experimental_get_compiler_ir")
    monkeypatch.setattr(device, "has_gpu", lambda: True)
    compiled = network(model, {NEAR}, xla=True)
    assert hasattr(compiled, "experimental_get_compiler_ir")

    found = []
    for run in (plain, compiled):
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(run(images, redirected, None)[NEAR] ** 2)
        found.append((total, tape.gradient(total, images)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-2, atol=1e-3 * float(tf.reduce_max(found[0][1])))


class Observed:
    """The model, which records at every forward pass whether TF32 is allowed and whether channels are selected."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.seen: list[tuple[bool, bool]] = []  # channels are selected, TF32 is allowed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def activations(self, images: tf.Tensor, layers: Any, **options: Any) -> dict[str, tf.Tensor]:
        selected = options.get("channels") is not None

        def note() -> np.ndarray:
            self.seen.append((selected, tf.config.experimental.tensor_float_32_execution_enabled()))
            return np.float32(0)

        noted = tf.numpy_function(note, [], tf.float32)
        with tf.control_dependencies([noted]):
            images = tf.identity(images)
        return self._model.activations(images, layers, **options)


def test_tf32_is_used_only_for_the_updates_of_renderers_with_that_precision(model: Model) -> None:
    """Renderers of two precisions in one process do not affect each other, and measurements use float32."""
    observed = Observed(model)
    pair = Pair.of(Neuron(SELECTED, 3), Neuron(SELECTED, 40))
    changes = {"size_px": 32, "frames": 2, "steps": 3, "alignment": {"layers": ["stem"]}}
    rough, exact = (
        StripRenderer(
            observed, pair.layers, resolve_settings(RenderSettings.model_validate(SMALL | changes | more), model)
        )
        for more in ({"precision": "tf32"}, {"precision": "float32"})
    )
    seen = []
    for renderer in (rough, exact, rough):
        renderer.compile()
        observed.seen.clear()
        renderer.render([pair])
        seen.append(list(observed.seen))

    updates, measured = (True, True), (False, False)
    assert seen[0] == seen[2] == [*[updates] * 3, measured]
    assert seen[1] == [*[(True, False)] * 3, measured]
    assert not tf.config.experimental.tensor_float_32_execution_enabled()
