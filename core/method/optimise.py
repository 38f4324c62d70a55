"""Optimising an image: the loop, and Adam with the epsilon that Lucid's pictures were made with.

`render` is for one image or batch and any objective; `core.method.renderer` has the same loop for atlases.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import tensorflow as tf

from core.arrays import Array
from core.errors import RenderDivergedError, SpecError
from core.machine import device
from core.method.objectives import INPUT, Objective
from core.method.parameterization import Parameterization, image
from core.method.transforms import STANDARD, Transform, compose

if TYPE_CHECKING:
    from core.models.model import Model

UPDATES_PER_CALL = 64
"""Updates after which the graph hands control back to Python, which reports progress."""

MOMENTUM = 0.9
"""Beta1 of Adam, as in Lucid."""
_BETA2, _EPSILON = 0.999, 1e-8


class Optimizer(Protocol):
    """Changes variables so that a loss becomes smaller."""

    def descend(self, gradients: Sequence[tf.Tensor], update: tf.Tensor) -> None:
        """Change every variable against its gradient; *update* counts from 1, a scalar integer."""


class Adam:
    """Adam (Kingma and Ba 2015, arXiv:1412.6980) in the form of the text just before its section 2.1.

    lr_t = learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t), and var -= lr_t * m / (sqrt(v) + epsilon). This is what
    TensorFlow 1 does, with epsilon 1e-8. Keras has 1e-7, and after 32 updates its images differ by a quarter of their
    range.

    Args:
        learning_rate: a number, or a function from the number of the update, which counts from 1.
        momentum: beta1, the share of the earlier gradients in the mean that is followed.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: float | Callable[[tf.Tensor], tf.Tensor | float] = 0.05,
        momentum: float = MOMENTUM,
    ) -> None:
        self._momentum = momentum
        self._variables = variables
        self._learning_rate = learning_rate
        self._first_moments = [tf.Variable(tf.zeros_like(variable)) for variable in variables]
        self._second_moments = [tf.Variable(tf.zeros_like(variable)) for variable in variables]

    def reset(self) -> None:
        """Forget all earlier gradients."""
        for moment in (*self._first_moments, *self._second_moments):
            moment.assign(tf.zeros_like(moment))

    def descend(self, gradients: Sequence[tf.Tensor], update: tf.Tensor) -> None:
        """Change every variable against its gradient; *update* counts from 1, a scalar integer."""
        time = tf.cast(update, tf.float32)
        rate = self._learning_rate(update) if callable(self._learning_rate) else self._learning_rate
        for variable, first, second, gradient in zip(
            self._variables, self._first_moments, self._second_moments, gradients, strict=True
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=variable.handle,
                m=first.handle,
                v=second.handle,
                beta1_power=self._momentum**time,
                beta2_power=_BETA2**time,
                lr=rate,
                beta1=self._momentum,
                beta2=_BETA2,
                epsilon=_EPSILON,
                grad=gradient,
            )


@dataclass(frozen=True)
class Rendering:
    """The result of `render`.

    Attributes:
        images: number of updates -> the images then, shape (batch, height, width, channel), float32 in [0, 1].
        objective: shape (update,): its value on the transformed images before each update.
        seconds: rendering time.
    """

    images: Mapping[int, Array]
    objective: Array
    seconds: float

    @property
    def final(self) -> Array:
        """The images after the last update."""
        return self.images[max(self.images)]


def render(
    model: Model,
    objective: Objective | str,
    parameterization: Parameterization | None = None,
    *,
    checkpoints: Sequence[int] = (512,),
    transforms: Sequence[Transform] = STANDARD,
    optimizer: Callable[[Sequence[tf.Variable]], Optimizer] = Adam,
    redirected_updates: int = 16,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda update, objective: None,
) -> Rendering:
    """Optimise an image so that an objective becomes large: Lucid's `render_vis`.

    Args:
        objective: the objective to maximise; text `layer:n` is that channel.
        parameterization: the image, optimised from its current values on; one image of 128 px by default.
        checkpoints: numbers of updates after which the images are kept. The largest is the number of updates. (Lucid's
            threshold t keeps images after t + 1 updates.)
        transforms: applied to the images, one after the other, before the model sees them; empty for none.
        optimizer: makes an optimizer from the variables; `lambda variables: Adam(variables, 0.1)` has another learning
            rate.
        redirected_updates: number of first updates in which ReLUs have the gradient of `core.models.operations.relu`;
            0 switches it off. (Lucid: 17.)
        seed: seed of the transforms' draws.
        progress: called every few updates with the number of updates done and the objective.

    Raises:
        SpecError: if a checkpoint is not a positive number.
        RenderDivergedError: if the objective is no longer a finite number.
    """
    kept = sorted(set(checkpoints))
    if not kept or kept[0] < 1:
        raise SpecError(f"checkpoints: expected positive numbers of updates, got {list(checkpoints)}")
    started = time.perf_counter()
    goal = Objective.of(objective)
    images = parameterization or image(128, seed=seed)
    minimiser = optimizer(images.variables)
    transform = compose(tuple(transforms))

    def update(step: tf.Tensor, redirected: bool) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images.variables)
            pixels = images()
            seen = transform(pixels, tf.stack([tf.constant(seed, tf.int32), step]))
            value = goal(_activations(model, goal.layers, pixels, seen, redirected))
            loss = -value
        minimiser.descend(tape.gradient(loss, images.variables), step + 1)
        return value

    updates = Updates(update, redirected_updates)
    compile_in_threads([(loop, (0, 0)) for loop in updates.loops(kept[-1])])
    found, history = dict[int, Array](), list[Array]()
    for first, last in pairwise([0, *stops(kept, kept[-1])]):
        with device.tensor_float_32(False):  # whatever other renderers or notebooks have set
            history.append(_check_finite(updates(first, last), first))
        if last in kept:
            found[last] = images().numpy()
        progress(last, float(history[-1][-1]))
    return Rendering(found, np.concatenate(history), time.perf_counter() - started)


def stops(checkpoints: Collection[int], updates: int) -> Iterator[int]:
    """Yield the numbers of updates after which the loop hands control back to Python.

    They are all checkpoints and *updates*, and between two of them every `UPDATES_PER_CALL` updates.
    """
    done = 0
    for stop in sorted({*checkpoints, updates}):
        yield from range(done + UPDATES_PER_CALL, stop, UPDATES_PER_CALL)
        yield stop
        done = stop


def _check_finite(objective: Array, done: int) -> Array:
    """Return the objective of some updates if it is finite; *done* updates were done before."""
    bad = np.flatnonzero(~np.isfinite(objective))
    if bad.size:
        raise RenderDivergedError(f"expected a finite objective, got {objective[bad[0]]} at update {done + bad[0] + 1}")
    return objective


class Updates:
    """Updates, done in two loops inside the graph: the first with redirected gradients, the second without.

    Each loop is traced and compiled once, which takes seconds, and only if it is needed.

    Args:
        update: does one update and returns the objective before it, of *shape*. Its arguments are the number of
            updates done before, whether ReLU gradients are redirected, and *others*.
        redirected_updates: number of first updates with redirected gradients.
        others: signature of the other arguments of an update.

    Attributes:
        traces: number of times that a loop has been traced.
    """

    def __init__(
        self,
        update: Callable[..., tf.Tensor],
        redirected_updates: int,
        *,
        shape: tuple[int, ...] = (),
        others: Sequence[Any] = (),
    ) -> None:
        self.traces = 0
        self._update = update
        self._redirected_updates = redirected_updates
        self._shape = shape
        signature = [tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.int32), *others]
        self._loops = {
            redirected: tf.function(partial(self._loop, redirected), input_signature=signature, autograph=False)
            for redirected in (True, False)
        }

    def __call__(self, first: int, last: int, *others: Any) -> Array:
        """Do the updates first + 1 .. last, at least one; return the objectives, shape (update, *shape)."""
        return np.concatenate([loop(*ends, *others).numpy() for loop, *ends in self._parts(first, last)])

    def loops(self, updates: int) -> list[Callable[..., tf.Tensor]]:
        """Return the loops that this number of updates needs: functions of first, last and the others."""
        return [loop for loop, _first, _last in self._parts(0, updates)]

    def _parts(self, first: int, last: int) -> list[tuple[Callable[..., tf.Tensor], int, int]]:
        middle = min(max(first, self._redirected_updates), last)
        parts = [(self._loops[True], first, middle), (self._loops[False], middle, last)]
        return [part for part in parts if part[1] < part[2]]

    def _loop(self, redirected: bool, first: tf.Tensor, last: tf.Tensor, *others: Any) -> tf.Tensor:
        self.traces += 1
        history = tf.TensorArray(tf.float32, size=last - first, element_shape=self._shape)

        def body(step: tf.Tensor, history: tf.TensorArray) -> tuple[tf.Tensor, tf.TensorArray]:
            return step + 1, history.write(step - first, self._update(step, redirected, *others))

        return tf.while_loop(lambda step, _: step < last, body, (first, history), parallel_iterations=1)[1].stack()


def compile_in_threads(functions: Sequence[tuple[Any, Sequence[Any]]]) -> None:
    """Trace functions one after the other, and compile each while the next ones are traced.

    Tracing runs in Python and thus on one core; compiling does not, and takes as long. Compiling cannot be interrupted:
    an error is raised when everything that has been started is done.

    Args:
        functions: at least one `tf.function` with an input signature, each with the arguments of its first call:
            TensorFlow compiles a function when it is called.
    """
    with ThreadPoolExecutor(len(functions)) as threads:
        calls = []
        for function, given in functions:
            function.get_concrete_function()
            calls.append(threads.submit(function, *given))
    for call in calls:
        call.result()


def _activations(
    model: Model, layers: frozenset[str], pixels: tf.Tensor, seen: tf.Tensor, redirected: bool
) -> Callable[[str], tf.Tensor]:
    inside = layers - {INPUT}
    found = model.activations(seen, inside, redirected=redirected) if inside else {}
    return {INPUT: pixels, **found}.__getitem__
