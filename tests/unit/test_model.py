"""The default model: real photographs, the layer table, and weights files as untrusted input."""

from __future__ import annotations

import os
import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tensorflow as tf

from core.errors import ModelError
from core.models.efficientnet import EfficientNetLite0
from core.models.model import Model
from core.models.weight_files.torch_legacy import read_state_dict

CATS = {281, 282, 285}  # tabby, tiger cat, Egyptian cat
ESPRESSO = 967
BLOCK_CHANNELS = [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320]


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
    """The network computes exactly the layers of the table, with their channels."""
    found = model.activations(tf.zeros((1, 64, 64, 3)), list(model.layers))

    assert {name: t.shape[-1] for name, t in found.items()} == dict(model.layers)
    assert len(model.layers) == 83
    assert model.layers["block9_expand_pre_relu"] == 672
    assert found["block9_expand_pre_relu"].shape == (1, 4, 4, 672)


def test_the_layer_table_is_that_of_the_design(model: Model) -> None:
    """The layers are stem, sixteen blocks with a linear end, head and logits, with activations also before ReLU6."""
    names = list(model.layers)
    expected = ["stem_pre_relu", "stem"]
    for number in range(16):
        inside = ["depthwise"] if number == 0 else ["expand", "depthwise"]
        expected += [f"block{number}_{part}{end}" for part in inside for end in ("_pre_relu", "")]
        expected.append(f"block{number}")
    expected += ["head_pre_relu", "head", "logits"]

    assert names == expected
    ends = [(f"block{number}", channels) for number, channels in enumerate(BLOCK_CHANNELS)]
    assert dict(ends).items() <= model.layers.items()
    assert [model.layers[name] for name in ("stem", "head", "logits")] == [32, 1280, 1000]
    assert set(model.alignment_layers) == {"block5", "block7"}


def test_an_activation_is_the_relu6_of_its_pre_relu_layer(model: Model) -> None:
    """Each `..._pre_relu` layer, clipped to [0, 6], is the layer of that name; the blocks themselves are linear."""
    found = model.activations(tf.random.stateless_uniform((1, 64, 64, 3), (3, 4)), list(model.layers))

    for name in (name for name in model.layers if name.endswith("_pre_relu")):
        np.testing.assert_array_equal(found[name.removesuffix("_pre_relu")], np.clip(found[name], 0, 6), name)
    assert all(found[f"block{number}"].numpy().min() < 0 for number in range(16))


def test_redirecting_changes_gradients_but_no_activation(model: Model) -> None:
    """Activations are the same; gradients differ on a black image, where units of the stem are dead."""
    image = tf.zeros((1, 32, 32, 3))
    results = {}
    for redirected in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(image)
            found = model.activations(image, ["stem_pre_relu", "stem"], redirected=redirected)
            dead = int(np.argmin(found["stem_pre_relu"].numpy().max(axis=(0, 1, 2))))
            total = -tf.reduce_sum(found["stem"][..., dead])
        results[redirected] = found["stem"].numpy(), tape.gradient(total, image).numpy()

    np.testing.assert_array_equal(results[True][0], results[False][0])
    assert not results[False][1].any()
    assert results[True][1].any()


def test_the_model_is_cut_after_the_deepest_layer(model: Model) -> None:
    """A shallow layer needs only the convolutions up to it."""

    def convolutions(layer: str) -> int:
        with tf.Graph().as_default() as graph:
            model.activations(tf.zeros((1, 64, 64, 3)), [layer])
            return sum(op.type in ("Conv2D", "DepthwiseConv2dNative", "MatMul") for op in graph.get_operations())

    assert convolutions("stem") == 1
    assert convolutions("block0") == 3
    assert convolutions("block1_expand_pre_relu") == 4
    assert convolutions("head") == 1 + 2 + 15 * 3 + 1


def test_fan_in_is_the_kernel_that_computes_a_channel(model: Model) -> None:
    """fan_in has one row per channel: for an expansion, the 1x1 kernel over the channels of the block before."""
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
    """A command in any of the file's pickles is not run, and the message names it."""
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
    """A name that is not an ordered dictionary, a tensor or a storage is refused before it is looked up."""
    module, _, attribute = name.rpartition(".")
    weights = tmp_path / "weights.pth"
    weights.write_bytes(f"c{module}\n{attribute}\n.".encode())

    with pytest.raises(ModelError, match="only tensors are admitted"):
        read_state_dict(weights)


# A small weights file of text pickles, so that each of its parts can be replaced --------------------------------------

HEADER = b"".join(pickle.dumps(one, protocol=2) for one in (0x1950A86A20F9469CFC6C, 1001, {}))
VALUES = struct.pack("<q6f", 6, *range(6))


def small_file(
    shape: str = "I2\nI3\n",
    strides: str = "I3\nI1\n",
    offset: str = "I0\n",
    size: str = "I6\n",
    kind: str = "ctorch\nFloatStorage\n",
    keys: object = ("0",),
    values: bytes = VALUES,
) -> bytes:
    """Return a file with one tensor `w` over one storage "0" of six numbers."""
    storage = f"(Vstorage\n{kind}V0\nVcpu\n{size}NtQ"
    tensor = f"ctorch._utils\n_rebuild_tensor_v2\n({storage}{offset}({shape}t({strides}tI00\nNtR"
    return HEADER + f"(dVw\n{tensor}s.".encode() + pickle.dumps(keys, protocol=2) + values


def refusal(tmp_path: Path, content: bytes) -> str:
    """Return the message that a file with this content is refused with, which is one line and begins with the file."""
    weights = tmp_path / "weights.pth"
    weights.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        read_state_dict(weights)
    message = str(caught.value)
    assert message.startswith(f"{weights}: ")
    assert "\n" not in message
    return message


def test_a_small_file_is_read(tmp_path: Path) -> None:
    """Shape, strides and offset give the place of each value of a tensor in its storage."""
    weights = tmp_path / "weights.pth"

    weights.write_bytes(small_file())
    assert read_state_dict(weights)["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    weights.write_bytes(small_file(shape="I2\nI2\n", strides="I1\nI2\n", offset="I1\n"))
    assert read_state_dict(weights)["w"].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    "change",
    [
        {"shape": "I3\nI3\n"},
        {"offset": "I1\n"},
        {"strides": "I4\nI1\n"},
        {"strides": "I-3\nI1\n"},
        {"offset": "I-1\n"},
        {"shape": "L99999999999999999999L\nI3\n"},
        {"keys": ()},  # the values of the storage are missing
    ],
    ids=str,
)
def test_a_tensor_outside_its_storage_reads_no_memory(tmp_path: Path, change: dict[str, Any]) -> None:
    """A tensor that reaches beyond the values in the file is refused."""
    assert "reaches outside" in refusal(tmp_path, small_file(**change))


@pytest.mark.parametrize(
    "change",
    [
        {"size": "I7\n"},
        {"size": "I-1\n"},
        {"size": "L99999999999999999999L\n"},
        {"values": VALUES[:-1]},
        {"values": b"\0\0"},
        {"keys": ("1",)},
        {"keys": ([],)},
        {"keys": 3},
        {"shape": "F2.0\nI3\n"},
        {"shape": "I6\n"},
        {"offset": "N"},
        {"kind": "Vtext\n"},
    ],
    ids=str,
)
def test_a_file_that_contradicts_itself_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any]) -> None:
    """Sizes, keys and types that do not fit together are refused."""
    refusal(tmp_path, small_file(**change))


@pytest.mark.parametrize("change", [{"shape": "F2.0\nI3\n"}, {"offset": "N"}, {"strides": "I3\nN"}], ids=str)
def test_shape_strides_and_offset_of_a_tensor_are_whole_numbers(tmp_path: Path, change: dict[str, Any]) -> None:
    """Other values are refused before anything is computed with them."""
    assert "storage and whole numbers" in refusal(tmp_path, small_file(**change))


@pytest.mark.parametrize(
    "pickled",
    [
        pytest.param(b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b".", id="text"),
        pytest.param(b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b".", id="bytes"),
        pytest.param(b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b".", id="frame"),
    ],
)
def test_an_impossible_length_is_refused_in_one_line(tmp_path: Path, pickled: bytes) -> None:
    """A few bytes that announce four exabytes are refused without a crash or a traceback."""
    assert "damaged one" in refusal(tmp_path, pickled)


@pytest.mark.parametrize("opcode", [b"r" + struct.pack("<I", 1 << 24), b"p16777216\n"])
def test_a_few_bytes_cannot_ask_for_much_memory(tmp_path: Path, opcode: bytes) -> None:
    """A high memo number, for which loading would reserve memory, is refused before loading."""
    assert "a table of 16777216 objects" in refusal(tmp_path, b"\x80\x02N" + opcode + b".")


@pytest.mark.parametrize("name", ["array", "storage", "__new__"])
@pytest.mark.parametrize("target", ["ctorch._utils\n_rebuild_tensor_v2\n", "ctorch\nFloatStorage\n"])
def test_a_refused_file_leaves_nothing_behind(tmp_path: Path, target: str, name: str) -> None:
    """A pickle that sets attributes of its objects is refused, and a good file is read as before."""
    refusal(tmp_path, HEADER + f"{target}(N(dV{name}\nccollections\nOrderedDict\nstb.".encode())

    weights = tmp_path / "good.pth"
    weights.write_bytes(small_file())
    assert read_state_dict(weights)["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_file_with_any_wrong_bytes_is_read_or_refused(tmp_path: Path) -> None:
    """Small files with up to three changed bytes give a dictionary or a ModelError, and no other error."""
    random = np.random.default_rng(0)
    weights = tmp_path / "weights.pth"
    whole = small_file()
    outcomes = set()
    for _ in range(600):
        damaged = bytearray(whole)
        for place in random.integers(len(whole), size=random.integers(1, 4)):
            damaged[place] = random.integers(256)
        weights.write_bytes(damaged)
        try:
            outcomes.add(type(read_state_dict(weights)))
        except ModelError as error:
            assert "\n" not in str(error)
            outcomes.add(ModelError)

    assert outcomes == {dict, ModelError}


def test_values_in_the_dictionary_that_are_not_tensors_are_skipped(tmp_path: Path) -> None:
    """Numbers and empty dictionaries, which PyTorch stores beside the tensors, are not weights."""
    weights = tmp_path / "weights.pth"
    weights.write_bytes(HEADER + pickle.dumps(OrderedDict(epoch=3, notes=OrderedDict()), 2) + pickle.dumps([], 2))

    assert read_state_dict(weights) == {}


@pytest.mark.parametrize("damage", ["empty", "text", "random", "cut", "cut in a pickle"])
def test_damaged_weights_are_refused_in_one_line(model: EfficientNetLite0, tmp_path: Path, damage: str) -> None:
    """The error for any damage names the file in one line."""
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


def test_missing_weights_are_refused_in_one_line(tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(ModelError, match=r"nothing\.pth: expected a weights file, found none"):
        read_state_dict(tmp_path / "nothing.pth")
