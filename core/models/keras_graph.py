"""Keras models as frozen graphs: their layers by their paths, with those of models inside."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.errors import ModelError, one_line
from core.models.graph.safety import node_name
from core.models.keras_convolutions import grouped_convolution, is_grouped
from core.models.keras_settings import keras_settings

if TYPE_CHECKING:
    import tensorflow as tf


@dataclass(frozen=True)
class KerasGraph:
    """A Keras model as a frozen graph.

    Attributes:
        graph_def: the GraphDef.
        names: layer -> node.
        kinds: layer -> name of its class.
        own_size: height and width of the images that the model was made for, or None.
    """

    graph_def: Any
    names: Mapping[str, str]
    kinds: Mapping[str, str]
    own_size: tuple[int, int] | None


@keras_settings()
def keras_graph(
    network: Any, source: str, prepare: Callable[[tf.Tensor], tf.Tensor] = lambda images: images
) -> KerasGraph:
    """Return the graph of a Keras model.

    Its input takes images of any size, if Keras can compute all layers of such images; otherwise of the model's size.

    Args:
        prepare: turns the images of the graph into those that the model expects.

    Raises:
        ModelError: if Keras cannot compute the model's layers.
    """
    shapes = [tuple(one.shape) for one in network.inputs]
    free = [tuple(None if axis in _positions(shape) else size for axis, size in enumerate(shape)) for shape in shapes]
    for tried in [free, shapes] if free != shapes else [shapes]:
        try:
            return _graph(network, tried, prepare)
        except Exception as error:  # layers raise errors of any type for shapes that they do not expect
            reason = one_line(error)
    raise ModelError(f"{source}: expected a network whose layers Keras can compute, {reason}")


@dataclass
class _Recorder:
    """The outputs of a model's layers, by their paths.

    Attributes:
        outputs: layer -> output.
        kinds: layer -> name of its class.
    """

    outputs: dict[str, Any] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def run(self, model: Any, inputs: Any, path: str) -> Any:
        """Return the outputs of a model for some inputs, and record those of its layers."""
        import keras

        if isinstance(model, keras.Sequential):
            for layer in model.layers:
                inputs = self._call(layer, path, inputs)
            return inputs
        # Keras has no public way to run a model layer by layer.
        return model._run_through_graph(
            inputs,
            operation_fn=lambda layer: layer,
            call_fn=lambda layer, *arguments, **options: self._call(layer, path, *arguments, **options),
        )

    def _call(self, layer: Any, path: str, *arguments: Any, **options: Any) -> Any:
        import keras

        name = f"{path}{layer.name}"
        if isinstance(layer, keras.Sequential) or (isinstance(layer, keras.Model) and hasattr(layer, "operations")):
            return self.run(layer, arguments[0], f"{name}/")
        if "training" in inspect.signature(layer.call).parameters:
            options["training"] = False
        before: list[Any] = []
        with _activation_watched(layer, before):
            result = grouped_convolution(layer, *arguments) if is_grouped(layer) else layer(*arguments, **options)
        if isinstance(layer, keras.layers.InputLayer) or not hasattr(result, "shape"):
            return result
        if len(before) == 1:
            self._record(name, "_pre_relu", before[0], layer)
        self._record(name, "", result, layer)
        return result

    def _record(self, name: str, ending: str, output: Any, layer: Any) -> None:
        unused, number = f"{name}{ending}", 0
        while unused in self.outputs:  # the layer is called several times
            number += 1
            unused = f"{name}_{number}{ending}"
        self.outputs[unused], self.kinds[unused] = output, type(layer).__name__


@contextmanager
def _activation_watched(layer: Any, before: list[Any]) -> Iterator[None]:
    """Append what a layer gives to its activation, unless the layer is nothing but an activation."""
    activation = vars(layer).get("activation")
    if not callable(activation) or type(layer).__name__ == "Activation" or activation.__name__ == "linear":
        yield
        return

    def watched(x: Any) -> Any:
        before.append(x)
        return activation(x)

    layer.activation = watched
    try:
        yield
    finally:
        layer.activation = activation


def _graph(network: Any, shapes: list[tuple[int | None, ...]], prepare: Callable[[tf.Tensor], tf.Tensor]) -> KerasGraph:
    import keras
    import tensorflow as tf

    recorder = _Recorder()

    def outputs(*given: tf.Tensor) -> list[tf.Tensor]:
        inputs = [prepare(one) if len(one.shape) == 4 else one for one in given]
        structure = inputs[0] if isinstance(network, keras.Sequential) else network.input
        recorder.run(network, keras.tree.pack_sequence_as(structure, inputs), "")
        return [tf.identity(output) for output in recorder.outputs.values()]

    specs = [
        tf.TensorSpec((None, *shape[1:]), one.dtype, _plain(one.name))
        for shape, one in zip(shapes, network.inputs, strict=True)
    ]
    concrete = tf.function(outputs, autograph=False).get_concrete_function(*specs)
    graph_def, outputs_made = _frozen(concrete)
    nodes = {node.name: node for node in graph_def.node}
    made = {name: _maker(nodes, node_name(tensor)) for name, tensor in zip(recorder.outputs, outputs_made, strict=True)}
    return KerasGraph(graph_def, made, recorder.kinds, _own_size(network))


def _frozen(concrete: Any) -> tuple[Any, list[str]]:
    """Return the GraphDef of a function with its variables as constants, and the names of its outputs.

    TensorFlow's own way copies all weights several times; it is taken if a variable is read inside another function.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    graph = concrete.graph
    definition = graph.as_graph_def()
    variables = {id(variable.handle): variable for variable in graph.variables}
    captured = {placeholder.op.name: tensor for tensor, placeholder in graph.captures}
    frozen = type(definition)(versions=definition.versions)
    for node in definition.node:
        source = node.input[0] if node.op == "ReadVariableOp" else node.name
        tensor = captured.get(source)
        if tensor is None:
            frozen.node.append(node)
        elif node.op == "ReadVariableOp" or tensor.dtype != tf.resource:
            values = (variables[id(tensor)] if node.op == "ReadVariableOp" else tensor).numpy()
            constant = frozen.node.add(name=node.name, op="Const")
            constant.attr["dtype"].type = tf.as_dtype(values.dtype).as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values))
    kept = {node.name for node in frozen.node}
    if definition.library.function or any(node_name(edge) not in kept for node in frozen.node for edge in node.input):
        whole = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
        return whole.graph.as_graph_def(), [tensor.name for tensor in whole.outputs]
    return frozen, [tensor.name for tensor in graph.outputs]


def _own_size(network: Any) -> tuple[int, int] | None:
    """Return height and width of the images that a model was made for, or None if it has no size of its own."""
    shapes = [tuple(one.shape) for one in network.inputs if len(one.shape) == 4]
    sizes = [tuple(shape[axis] for axis in _positions(shape)) for shape in shapes]
    return sizes[0] if len(sizes) == 1 and None not in sizes[0] else None


def _positions(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    """Return the axes of height and width of an input; channels are last, or first after the batch."""
    if len(shape) != 4:
        return ()
    return (2, 3) if shape[1] in (1, 3) and shape[3] not in (1, 3) else (1, 2)


def _plain(name: str) -> str:
    """Return the name of an input as TensorFlow writes names of nodes."""
    return re.sub(r"[^A-Za-z0-9_.]", "_", name)


def _maker(nodes: Mapping[str, Any], name: str) -> str:
    """Return the node that an output is another name of."""
    while nodes[name].op == "Identity" and ":" not in nodes[name].input[0]:
        name = node_name(nodes[name].input[0])
    return name
