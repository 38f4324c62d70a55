"""The default model: real photographs, the layer table, and weights files as untrusted input."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from core.efficientnet import EfficientNetLite0
from core.errors import ModelError
from core.models import Model
from core.torchfile import read_state_dict

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
ESPRESSO = 967


@pytest.mark.parametrize(("photograph", "classes"), [(skimage.data.cat, CATS), (skimage.data.coffee, {ESPRESSO})])
def test_photographs_are_recognised(model: Model, photograph: Any, classes: set[int]) -> None:
    """The network sees a cat in the photograph of a cat, and espresso in a cup."""
    pixels = photograph()
    side = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[None, top : top + side, left : left + side] / 255
    image = tf.cast(tf.image.resize(square, (224, 224), antialias=True), tf.float32)

    logits = model.activations(image, ["logits"])["logits"].numpy()

    assert int(np.argmax(logits)) in classes


def test_every_layer_has_the_channels_of_the_table(model: Model) -> None:
    """Names and depths that people may ask for are those that the network computes."""
    found = model.activations(tf.zeros((1, 64, 64, 3)), list(model.layers))

    assert {name: t.shape[-1] for name, t in found.items()} == dict(model.layers)
    assert len(model.layers) == 83
    assert model.layers["block9_expand_pre_relu"] == 672
    assert found["block9_expand_pre_relu"].shape == (1, 4, 4, 672)


def test_the_model_is_cut_behind_the_deepest_layer(model: Model) -> None:
    """A shallow layer costs only the convolutions before it."""

    def convolutions(layer: str) -> int:
        with tf.Graph().as_default() as graph:
            model.activations(tf.zeros((1, 64, 64, 3)), [layer])
            return sum(op.type in ("Conv2D", "DepthwiseConv2dNative") for op in graph.get_operations())

    assert convolutions("stem") == 1
    assert convolutions("block0") == 3
    assert convolutions("block1_expand_pre_relu") == 4
    assert convolutions("head") == 1 + 2 + 15 * 3 + 1


def test_what_feeds_a_channel_is_what_moves_it(model: Model) -> None:
    """fan_in has one row a channel: the 1x1 kernel that turns the block before into it."""
    images = tf.random.stateless_uniform((1, 64, 64, 3), (1, 2))
    found = model.activations(images, ["block8", "block9_expand_pre_relu"])
    before = tf.reshape(found["block8"], (-1, model.layers["block8"])).numpy()
    after = tf.reshape(found["block9_expand_pre_relu"], (-1, 672)).numpy()

    weights = model.fan_in("block9_expand_pre_relu")

    assert weights.shape == (672, 112)
    bias = after - before @ weights.T
    np.testing.assert_allclose(bias, np.broadcast_to(bias[:1], bias.shape), atol=2e-4)
    assert model.fan_in("block9_depthwise").shape == (672, 25)
    assert model.fan_in("logits").shape == (1000, 1280)


class Command:
    """A pickle that runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("place", range(4))
def test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing(tmp_path: Path, place: int) -> None:
    """In whichever of the file's pickles it hides, a command is not run and the message names what was asked for."""
    marker = tmp_path / "ran"
    pickles: list[Any] = [0x1950A86A20F9469CFC6C, 1001, {}, {}]
    pickles[place] = Command(f"touch {marker}")
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"".join(pickle.dumps(one, protocol=2) for one in pickles))

    with pytest.raises(ModelError, match=r"refused.*system") as caught:
        read_state_dict(weights)

    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["numpy.core.multiarray._reconstruct", "builtins.eval", "torch.load"])
def test_anything_but_tensors_is_refused(tmp_path: Path, name: str) -> None:
    """A global that is not an ordered dictionary, a tensor or a storage is refused before it is looked up."""
    module, _, attribute = name.rpartition(".")
    weights = tmp_path / "weights.pth"
    weights.write_bytes(f"c{module}\n{attribute}\n.".encode())

    with pytest.raises(ModelError, match="only tensors are admitted"):
        read_state_dict(weights)


@pytest.mark.parametrize("damage", ["empty", "text", "random", "cut", "cut in a pickle"])
def test_damaged_weights_are_one_clear_line(model: EfficientNetLite0, tmp_path: Path, damage: str) -> None:
    """Whatever is wrong with the file, the error names the file in one line."""
    whole = model.weights_file.read_bytes()
    weights = tmp_path / "weights.pth"
    weights.write_bytes(
        {
            "empty": b"",
            "text": b"not weights at all\n" * 100,
            "random": np.random.default_rng(0).bytes(10_000),
            "cut": whole[: len(whole) // 2],
            "cut in a pickle": whole[:1000],
        }[damage]
    )

    with pytest.raises(ModelError) as caught:
        read_state_dict(weights)

    assert str(caught.value).startswith(str(weights))
    assert "\n" not in str(caught.value)


def test_missing_weights_are_one_clear_line(tmp_path: Path) -> None:
    """A path without a file is named."""
    with pytest.raises(ModelError, match=r"nothing\.pth: expected a weights file, found none"):
        read_state_dict(tmp_path / "nothing.pth")
