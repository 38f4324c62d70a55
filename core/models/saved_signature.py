"""The graph behind a signature of a SavedModel, with its variables as constants, read without TensorFlow's loader.

Loading a SavedModel runs what the file says: initialisers, functions that restore, Python code for each kind of object.
Here only the function of the signature is read, and what it calls; its variables are read from the checkpoint. Nothing
runs before the graph has been checked, and functions for training do not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import ModelError, one_line, short
from core.models.graph.safety import node_name, quoted
from core.models.graph_rewriting.functions import put_body, with_functions_inlined
from core.models.graph_rewriting.nodes import INT32, STRING, Nodes, edges, set_sizes, text_of, type_of

_PREFERRED = ("serving_default", "serve")
_OBJECTS = "_CHECKPOINTABLE_OBJECT_GRAPH"
_ASSIGNMENTS = frozenset(("AssignAddVariableOp", "AssignSubVariableOp", "AssignVariableOp"))
_READS = frozenset(("ReadVariableOp", "ResourceGather"))
_RESOURCE = 20  # DataType
_VARIABLES = frozenset(("VarHandleOp", "Variable", "VariableV2"))

Values = Callable[[str], Any]
"""Returns the value of a variable given its key in the checkpoint: an array, or the bytes of a text."""


def signature_graph(meta_graph: Any, directory: Path) -> Any:
    """Return the GraphDef of the signature `serving_default`, of `serve`, or of the only signature.

    Args:
        meta_graph: the contents of a SavedModel, as its protocol buffer; it is not trusted.
        directory: its directory, which has the values of variables.

    Raises:
        ModelError: if there is no such signature, or its variables cannot be read.
    """
    names = [name for name in meta_graph.signature_def if meta_graph.signature_def[name].inputs]
    name = next((name for name in (*_PREFERRED, *names) if name in names), None)
    if name is None or (len(names) > 1 and name not in _PREFERRED):
        found = f"it has {', '.join(map(short, sorted(names)[:5]))}" if names else "it has none"
        raise ModelError(f"{directory}: expected a SavedModel with the signature {_PREFERRED[0]}, {found}")
    values = _checkpoint(directory)
    function = _function(meta_graph.object_graph_def, name)
    if function is None:
        nodes, outputs = _graph_of_version_1(meta_graph, name, directory)
    else:
        nodes, outputs = _graph_of_function(meta_graph, function, values, directory)
    if not with_functions_inlined(nodes, meta_graph.graph_def.library):
        raise ModelError(f"{directory}: refused: a function of {short(name)} cannot be put in the place of its calls")
    nodes.without_library()
    outputs = [node for node in outputs if node in nodes]
    _without_unread_assignments(nodes, outputs)
    nodes.keep(nodes.before((node for node in outputs if node in nodes), control=True))  # assignments may have gone
    _variables_as_constants(nodes, values, directory)
    return nodes.graph_def()


def _function(objects: Any, signature: str) -> str | None:
    """Return the name of the function of a signature, or None if the SavedModel has no objects."""
    signatures = _child(objects, 0, "signatures") if objects.nodes else None
    found = None if signatures is None else _child(objects, signatures, signature)
    if found is None:
        return None
    item = objects.nodes[found]
    names = [item.bare_concrete_function.concrete_function_name, *item.function.concrete_functions]
    return next((name for name in names if name and name in objects.concrete_functions), None)


def _child(objects: Any, parent: int, name: str) -> int | None:
    children = objects.nodes[parent].children
    found = next((child.node_id for child in children if child.local_name == name), None)
    return found if found is not None and 0 <= found < len(objects.nodes) else None


def _graph_of_function(meta_graph: Any, name: str, values: Values, directory: Path) -> tuple[Nodes, list[str]]:
    """Return the body of a function with placeholders for its inputs and constants for what it has captured.

    Raises:
        ModelError: if the function does not exist, captures something else than values, or is damaged.
    """
    from tensorflow.core.framework import graph_pb2

    library = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    function, objects = library.get(name), meta_graph.object_graph_def
    captured = list(objects.concrete_functions[name].bound_inputs)
    if function is None or len(captured) > len(function.signature.input_arg):
        raise ModelError(f"{directory}: expected the function {short(name)} of its signature, it is damaged")
    graph_def = graph_pb2.GraphDef()
    graph_def.versions.CopyFrom(meta_graph.graph_def.versions)
    nodes = Nodes(graph_def)
    arguments = function.signature.input_arg
    given = []
    for number, argument in enumerate(arguments[: len(arguments) - len(captured)]):
        node = nodes.add(argument.name, "Placeholder", types={"dtype": argument.type})
        shapes = function.arg_attr[number].attr if number in function.arg_attr else {}
        shape = shapes["_output_shapes"].list.shape if "_output_shapes" in shapes else []
        if len(shape) == 1:
            node.attr["shape"].shape.CopyFrom(shape[0])
        else:
            set_sizes(node, None)
        given.append(str(node.name))
    constants = {node.name: node for node in meta_graph.graph_def.node if node.op == "Const"}
    keys = _keys(objects, values)
    for index in captured:
        item = objects.nodes[index if 0 <= index < len(objects.nodes) else 0]
        kind = item.WhichOneof("kind")
        if kind == "variable" and index in keys:
            given.append(nodes.constant(item.variable.name or "variable", values(keys[index])))
        elif kind == "constant" and item.constant.operation in constants:
            node = nodes.add(item.constant.operation, "Const", types={})
            node.attr["dtype"].CopyFrom(constants[item.constant.operation].attr["dtype"])
            node.attr["value"].CopyFrom(constants[item.constant.operation].attr["value"])
            given.append(str(node.name))
        else:
            raise ModelError(f"{directory}: refused: its signature needs an object of kind {kind}")
    nodes.added.clear()
    body = put_body(nodes, function, given, "")
    if body is None:
        raise ModelError(f"{directory}: refused: the function {short(name)} has an operation that is not known")
    return nodes, [*map(node_name, body.outputs), *body.effects]


def _keys(objects: Any, values: Values) -> dict[int, str]:
    """Return object -> its key in the checkpoint: the checkpoint has objects of its own, found by the same names."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    saved = trackable_object_graph_pb2.TrackableObjectGraph()
    try:
        saved.ParseFromString(values(_OBJECTS))
    except (DecodeError, TypeError):
        return {}
    keys: dict[int, str] = {}
    seen: set[int] = set()
    ahead = [(0, 0)]
    while ahead:
        index, other = ahead.pop()
        if index in seen or not (0 <= index < len(objects.nodes) and 0 <= other < len(saved.nodes)):
            continue
        seen.add(index)
        for attribute in saved.nodes[other].attributes:
            if attribute.name == "VARIABLE_VALUE":
                keys[index] = attribute.checkpoint_key
        others = {child.local_name: child.node_id for child in saved.nodes[other].children}
        children = objects.nodes[index].children
        ahead += [(child.node_id, others[child.local_name]) for child in children if child.local_name in others]
    return keys


def _graph_of_version_1(meta_graph: Any, name: str, directory: Path) -> tuple[Nodes, list[str]]:
    """Return the graph of a SavedModel of TensorFlow 1, and the nodes that a signature returns, without texts."""
    graph_def = meta_graph.graph_def
    names = {node.name for node in graph_def.node}
    if len(names) != len(graph_def.node) or any(
        node_name(edge) not in names for node in graph_def.node for edge in node.input
    ):
        raise ModelError(f"{directory}: expected a SavedModel whose nodes have inputs, it is damaged")
    outputs = meta_graph.signature_def[name].outputs
    return Nodes(graph_def), [node_name(outputs[key].name) for key in outputs if outputs[key].dtype != STRING]


def _without_unread_assignments(nodes: Nodes, outputs: list[str]) -> None:
    """Remove assignments to variables that are not read afterwards, such as those of the seeds of augmentations."""
    needed = nodes.before(node for node in outputs if nodes[node].op not in ("NoOp", *_ASSIGNMENTS))
    reads = [name for name in needed if nodes[name].op in _READS]
    before_reads = nodes.before(reads, control=True)
    nodes.remove([name for name in nodes if nodes[name].op in _ASSIGNMENTS and name not in before_reads])


def _variables_as_constants(nodes: Nodes, values: Values, directory: Path) -> None:
    """Replace variables with their values, and reading of variables with the values themselves."""
    from tensorflow import make_tensor_proto

    types: dict[str, int] = {name: type_of(nodes[name], "dtype") for name in nodes if nodes[name].op == "Const"}
    for name in nodes:
        if nodes[name].op in _VARIABLES:
            proto = make_tensor_proto(values(text_of(nodes[name], "shared_name") or name))
            constant = nodes.become(name, "Const", types={"dtype": proto.dtype})
            constant.attr["value"].tensor.CopyFrom(proto)
            types[name] = proto.dtype
    consumers = nodes.consumers()
    ahead = list(types)
    for name in ahead:
        for user in consumers[name]:
            if user not in types and type_of(nodes[user], "T") == _RESOURCE:
                nodes.edit(user).attr["T"].type = types[user] = types[name]
                ahead.append(user)
    for name in nodes:
        node = nodes[name]
        inputs = edges(node)
        if node.op == "ReadVariableOp" and len(inputs) == 1:
            nodes.become(name, "Identity", inputs[0], types={"T": type_of(node, "dtype")})
        elif node.op == "ResourceGather" and len(inputs) == 2:
            import numpy as np

            axis = nodes.constant(f"{name}/axis", np.array(0, np.int32))
            kinds = {"Tparams": type_of(node, "dtype"), "Tindices": type_of(node, "Tindices"), "Taxis": INT32}
            nodes.become(name, "GatherV2", *inputs, axis, types=kinds)
        elif node.op == "DisableCopyOnRead":
            nodes.become(name, "NoOp", types={})


def _checkpoint(directory: Path) -> Values:
    """Return a function that reads the values of variables, once each.

    Raises:
        ModelError: when it is called, if there is no such variable or the file is damaged.
    """
    found: dict[str, Any] = {}
    readers: list[Any] = []

    def value(key: str) -> Any:
        import tensorflow as tf

        if key not in found:
            try:
                if not readers:
                    readers.append(tf.train.load_checkpoint(str(directory / "variables" / "variables")))
                found[key] = readers[0].get_tensor(key)
            except Exception as error:  # a damaged directory can cause errors of any type
                raise ModelError(
                    f"{directory}: expected the value of the variable {quoted(key)} in its folder variables, "
                    f"{one_line(error)}"
                ) from None
        return found[key]

    return value
