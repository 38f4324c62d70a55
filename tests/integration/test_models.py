"""Atlases of other models than the default one, built by the command line in new processes."""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
from job import Job
from PIL import Image

from core.machine import device

sys.path.insert(0, str(Path(__file__).parents[1]))
from graphs import inception_v1

RENDER = {"schedule": "plain", "steps": 4, "size_px": 64, "frames": 3}  # has one step to trace
OPTIONS = ["--schedule", "plain", "--steps", "4", "--size-px", "64", "--frames", "3"]


def pixels(job: Job) -> np.ndarray:
    """The one sheet of an atlas."""
    [sheet] = job.atlas.glob("sheets/*/*.png")
    return np.asarray(Image.open(sheet).convert("RGB"))


def test_inception_renders_lucids_first_pair(job: Job) -> None:
    """An atlas and a preview of neurons before ReLU agree, aligned on the layers that Lucid's notebook uses.

    The graph has heads that need images of 224 px.
    """
    file = job.folder / "InceptionV1.pb"
    file.write_bytes(bytes(inception_v1(old_concat=True)))
    pair = ["mixed4a_pre_relu:476", "mixed4a_pre_relu:460"]
    job.write(
        model={"name": "inception-v1", "file": str(file)},
        pairs={"select": "list", "list": [pair]},
        render=RENDER,
        compute={"processes": 1},
    )

    assert job.build()["done"] == 1

    [record] = job.records().values()
    assert record["model"] == "inception-v1"
    assert record["settings"]["alignment"]["layers"] == ["mixed3b", "mixed4a"]
    assert pixels(job).shape == (64, 3 * 64, 3)
    assert pixels(job).std() > 1

    options = ["--model", "inception-v1", "--model-file", str(file), *OPTIONS]
    preview = job.run_loaded("preview", *sorted(pair), *options, "-o", str(job.folder / "strip.png"))

    assert (preview.returncode, preview.stderr) == (0, "")
    np.testing.assert_array_equal(np.asarray(Image.open(job.folder / "strip.png").convert("RGB")), pixels(job))


def test_a_keras_file_renders_the_same_pixels_each_time(job: Job) -> None:
    """An atlas and a preview agree; a model inside the model has layers, and a dense layer sees frames resized."""
    device.prepare()  # before Keras uses TensorFlow, because the preview runs in this process
    image = keras.Input((48, 48, 3))
    base = keras.Sequential(
        [keras.Input((48, 48, 3)), keras.layers.Conv2D(8, 5, activation="relu", name="c")], name="b"
    )
    outputs = keras.layers.Dense(4, name="d")(keras.layers.Flatten()(keras.layers.MaxPooling2D()(base(image))))
    keras.Model(image, outputs).save(job.folder / "net.keras")
    file, pair = str(job.folder / "net.keras"), ["b/c_pre_relu:3", "d:1"]
    job.write(
        model={"name": "keras", "file": file, "value_range": [-1, 1]},
        pairs={"select": "list", "list": [pair]},
        render=RENDER,
        compute={"processes": 1},
    )
    assert job.build()["done"] == 1

    options = ["--model", "keras", "--file", file, "--value-range", "-1", "1"]
    assert job.run_here("preview", *pair, *options, *OPTIONS, "-o", str(job.folder / "strip.png")).returncode == 0
    np.testing.assert_array_equal(np.asarray(Image.open(job.folder / "strip.png").convert("RGB")), pixels(job))


def test_a_failed_download_of_weights_is_reported_with_the_path_where_keras_expects_them(job: Job) -> None:
    """Without a network the one line of the error says where to put a file that was downloaded by hand."""
    job.environment |= {"https_proxy": "http://127.0.0.1:9", "KERAS_HOME": str(job.folder / "keras")}

    finished = job.run_loaded("models", "layers", "keras:MobileNetV2")

    assert (finished.returncode, finished.stdout) == (2, "")
    [line] = [line for line in finished.stderr.splitlines() if line.startswith("isthmus: ")]
    assert line.startswith(
        "isthmus: model keras:MobileNetV2: its weights could not be downloaded, URL fetch failure on "
    )
    file = job.folder / "keras" / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
    assert line.endswith(f"; download it by hand and put it at {file}, or write weights: none")
