"""Functions of a graph, put where they are called.

A tensor in the body of a function is written `node:output:number`, where the output has the name that the operation
gives it and may be a list; in a graph it is written `node:number`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.models.graph.safety import node_name
from core.models.graph_rewriting.conditions import known_booleans
from core.models.graph_rewriting.nodes import Nodes, edges, plain

_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
_CONDITIONS = frozenset(("If", "StatelessIf"))
_MOST_NODES = 200_000
_MOST_DEPTH = 64
"""Upper bounds on the nodes of all calls together and on calls within calls, as functions may call themselves."""


def with_functions_inlined(nodes: Nodes, library: Any) -> bool:
    """Put the bodies of functions in the place of calls, and of conditions whose predicate is known.

    A node `f` that calls a function is replaced with nodes called `f/...`; it stays as a node for control edges alone.

    Args:
        library: the functions of the graph.

    Returns:
        whether all calls have been replaced. If not, the nodes are of no use any more.
    """
    functions = {function.signature.name: function for function in library.function}
    tensors: dict[str, str] = {}
    depth = count = 0
    while calls := list(_calls(nodes, functions)):
        depth += 1
        for name, function in calls:
            count += len(function.node_def)
            given = edges(nodes[name])
            body = None
            if depth <= _MOST_DEPTH and count <= _MOST_NODES:
                body = put_body(nodes, function, given, f"{name}/")
            if body is None:
                return False
            tensors |= {plain(f"{name}:{at}"): tensor for at, tensor in enumerate(body.outputs)}
            nodes.become(name, "NoOp", *(f"^{ending}" for ending in body.effects), types={})
    _resolve(nodes, tensors)
    return True


def need_functions(nodes: Nodes) -> bool:
    """Return whether a node needs a function, as loops do."""
    return any(_names_function(attribute) for name in nodes for attribute in nodes[name].attr.values())


def _calls(nodes: Nodes, functions: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the nodes that call a function, and the function."""
    known: Mapping[str, bool] | None = None
    for name in nodes:
        node = nodes[name]
        if node.op in functions:
            yield name, functions[node.op]
        elif node.op in _CALLS and "f" in node.attr and node.attr["f"].func.name in functions:
            yield name, functions[node.attr["f"].func.name]
        elif node.op in _CONDITIONS and node.input:
            known = known_booleans(nodes) if known is None else known
            predicate = known.get(node_name(node.input[0]))
            branch = "then_branch" if predicate else "else_branch"
            if predicate is not None and branch in node.attr and node.attr[branch].func.name in functions:
                copy = nodes.edit(name)
                del copy.input[0]
                yield name, functions[node.attr[branch].func.name]


@dataclass(frozen=True)
class Body:
    """The body of a function in a graph.

    Attributes:
        outputs: the tensors that the function returns.
        effects: the nodes that have to run even if no output depends on them.
    """

    outputs: list[str]
    effects: list[str]


def put_body(nodes: Nodes, function: Any, given: Sequence[str], prefix: str) -> Body | None:
    """Add the body of a function to a graph.

    Args:
        given: the tensors for the arguments of the function.
        prefix: what the names of the nodes begin with.

    Returns:
        None, and nodes that are of no use any more, if the function cannot be called with these tensors, or one of its
        operations is unknown.
    """
    arguments = function.signature.input_arg
    lists = any(argument.number_attr or argument.type_list_attr for argument in arguments)
    if lists or len(given) != len(arguments) or any(f"{prefix}{one.name}" in nodes for one in function.node_def):
        return None
    inside: dict[str, str] = {argument.name: edge for argument, edge in zip(arguments, given, strict=True)}
    for one in function.node_def:
        offset = 0
        for output, length in _outputs(one):
            inside |= {f"{one.name}:{output}:{at}": f"{prefix}{one.name}:{offset + at}" for at in range(length)}
            offset += length
    bodies = {one.name for one in function.node_def}
    returned = [inside.get(function.ret.get(output.name, ""), "") for output in function.signature.output_arg]
    effects = [f"{prefix}{ending}" for ending in function.control_ret.values() if ending in bodies]
    for one in function.node_def:
        data = [inside.get(edge, "") for edge in one.input if not edge.startswith("^")]
        control = [f"^{prefix}{edge[1:]}" for edge in one.input if edge.startswith("^") and edge[1:] in bodies]
        if not all(data):
            return None
        copy = nodes.add(f"{prefix}{one.name}", one.op, *map(plain, data), *control, types={})
        nodes.added.discard(copy.name)
        for key, value in one.attr.items():
            copy.attr[key].CopyFrom(value)
    return Body([plain(tensor) for tensor in returned], effects) if all(returned) else None


def _outputs(node: Any) -> list[tuple[str, int]]:
    """Return the outputs of a node in a function: the name of each, and the number of tensors that it has."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    if definition is None:
        return []
    found: list[tuple[str, int]] = []
    for output in definition.output_arg:
        if output.number_attr:
            length = int(node.attr[output.number_attr].i) if output.number_attr in node.attr else 0
        elif output.type_list_attr:
            length = len(node.attr[output.type_list_attr].list.type) if output.type_list_attr in node.attr else 0
        else:
            length = 1
        found.append((output.name, min(length, 1 << 12)))
    return found


def _resolve(nodes: Nodes, tensors: Mapping[str, str]) -> None:
    """Replace the outputs of calls everywhere with the tensors that have taken their place."""
    final: dict[str, str] = {}
    for tensor in tensors:
        last = tensor
        for _ in range(2 * _MOST_DEPTH):
            last = tensors.get(last, last)
        final[tensor] = last
    nodes.redirect(final)


def _names_function(attribute: Any) -> bool:
    return attribute.WhichOneof("value") == "func" or len(attribute.list.func) > 0
