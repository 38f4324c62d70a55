"""The time of one update (the step) against that of the bare model.

The bare model is the forward and backward pass of the truncated network, with whole layers and the gradients that
TensorFlow derives. The step computes the same numbers with less work: it uses `core.models.operations.convolutions`
and computes only the channels that the objective reads. That saving hides part of the time of the step's other parts,
so the network in this form is timed too.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np
import tensorflow as tf

from core.bench.machine import process_mb, process_peak_mb
from core.machine import device
from core.method.network import network
from core.method.objectives import mean_over_positions
from core.method.strip_renderer import StripRenderer
from core.models.derived import DerivedModel
from core.models.efficientnet import EfficientNetLite0
from core.models.model import Model
from core.models.models import load
from core.neurons import Neuron, Pair
from core.rendering.batches import suited
from core.spec import RenderSettings

_FEW_UPDATES = 8
_BARE_STEPS = 4  # unrolled: in a loop TensorFlow chooses slower kernels for some gradients


@dataclass(frozen=True)
class StepFigures:
    """Figures of one configuration.

    Attributes:
        batch_pairs: pairs in a batch.
        bare_ms, step_ms: median milliseconds of one update of the whole batch.
        network_ms: median milliseconds of the network alone, in the form that the step uses.
        efficiency: median of bare / step; the two times of each ratio are taken right after one another.
        first_seconds: seconds from the start to the end of the first updates: creating the renderer, tracing and
            compiling.
        peak_mb: largest memory that the process has had so far, in MB.
        mb_per_pair: growth of memory in MB for each pair that is rendered, the slope of a fitted line; None if it was
            not measured.
    """

    layers: tuple[str, str]
    frames: int
    size_px: int
    batch_pairs: int
    precision: str
    xla: bool
    bare_ms: float
    network_ms: float
    step_ms: float
    efficiency: float
    first_seconds: float
    peak_mb: float
    mb_per_pair: float | None = None


def measure_step(
    model: Model, pair: Pair, settings: RenderSettings, *, batch_pairs: int = 1, repeats: int = 15
) -> StepFigures:
    """Time the bare model, the network and the whole step in turn, after a warm-up of each."""
    started = time.perf_counter()
    renderer = StripRenderer(model, pair.layers, settings, strips=batch_pairs)
    renderer.compile()
    step = renderer.stopwatch(pair)
    first_seconds = time.perf_counter() - started
    bare = _network_stopwatch(_plain(model), pair, settings, batch_pairs)
    used = _network_stopwatch(model, pair, settings, batch_pairs)
    times = [(bare(), used(), step()) for _ in range(repeats)]
    return StepFigures(
        layers=pair.layers,
        frames=settings.frames,
        size_px=settings.size_px,
        batch_pairs=batch_pairs,
        precision=settings.precision,
        xla=settings.xla,
        bare_ms=round(1000 * median(b for b, _, _ in times), 2),
        network_ms=round(1000 * median(n for _, n, _ in times), 2),
        step_ms=round(1000 * median(s for _, _, s in times), 2),
        efficiency=round(median(b / s for b, _, s in times), 3),
        first_seconds=round(first_seconds, 2),
        peak_mb=round(process_peak_mb()),
    )


def memory_slope(model: Model, layer: str, settings: RenderSettings, pairs: int) -> float:
    """Return the MB by which this process grows with every pair that it renders.

    Each pair gets a few updates. The first tenth of the pairs is left out of the fit.
    """
    few = {"steps": _FEW_UPDATES, "redirected_updates": min(settings.redirected_updates, _FEW_UPDATES // 2)}
    renderer = StripRenderer(model, (layer, layer), settings.model_copy(update=few))
    channels = model.layers[layer]
    held = []
    for number in range(pairs):
        renderer.render([Pair.of(Neuron(layer, number % channels), Neuron(layer, (number + 1) % channels))])
        held.append(process_mb())
    settled = held[pairs // 10 :]
    return float(np.polyfit(np.arange(len(settled)), settled, 1)[0])


def bare_seconds(layer: str, *, frames: int, size_px: int, seconds: float) -> float:
    """Return the median seconds of the bare default model for one update of one strip.

    Args:
        layer: layer up to which the network is computed.
        frames, size_px: settings of the strip; all others are the defaults.
        seconds: approximate duration of the measurement. A batch has the number of strips that suits the device.
    """
    model = load(EfficientNetLite0.name)
    settings = RenderSettings(frames=frames, size_px=size_px)
    batch_pairs = suited(settings.frames, settings.size_px)
    bare = _network_stopwatch(_plain(model), Pair.of(Neuron(layer, 0), Neuron(layer, 1)), settings, batch_pairs)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(bare())
    return median(times) / batch_pairs


def _network_stopwatch(model: Model, pair: Pair, settings: RenderSettings, batch_pairs: int) -> Callable[[], float]:
    """Return a function that times one forward and backward pass, in seconds.

    The channel is a tensor and the gradient is used, so that TensorFlow cannot optimise either of them away.
    """
    shape = (batch_pairs * settings.frames, settings.size_px, settings.size_px, 3)
    images = tf.constant(np.random.Generator(np.random.Philox(0)).random(shape, dtype=np.float32))
    layer = max(pair.layers, key=list(model.layers).index)  # the deeper one
    activations = network(model, {layer}, precision=settings.precision)

    def once(images: tf.Tensor, channel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            if model.can_select_channels([layer]):
                activation = tf.reduce_sum(mean_over_positions(activations(images, False, channel[None])[layer]))
            else:
                means = mean_over_positions(activations(images, False, None)[layer])
                activation = tf.reduce_sum(tf.gather(means, channel, axis=1))
        return activation, tape.gradient(activation, images)

    @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape), tf.TensorSpec((), tf.int32)])
    def steps(images: tf.Tensor, channel: tf.Tensor) -> tf.Tensor:
        total = tf.constant(0.0)
        for _ in range(_BARE_STEPS):
            activation, gradient = once(images, channel)
            images += 1e-9 * gradient
            total += activation
        return total + tf.reduce_mean(images)  # uses the last gradient, which would be optimised away otherwise

    def timed() -> float:
        with device.tensor_float_32(settings.precision == "tf32"):
            started = time.perf_counter()
            steps(images, pair.a.channel).numpy()
            return (time.perf_counter() - started) / _BARE_STEPS

    timed()
    return timed


def _plain(model: Model) -> Model:
    """Return the network with the convolutions of TensorFlow."""
    if isinstance(model, DerivedModel):
        return DerivedModel(_plain(model.network), model.derived)
    return EfficientNetLite0(model.weights_file, plain=True) if isinstance(model, EfficientNetLite0) else model
