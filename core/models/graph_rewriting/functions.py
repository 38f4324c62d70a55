"""Functions of a graph, put where they are called.

A tensor in the body of a function is written `node:output:number`, where the output has the name that the operation
gives it and may be a list; in a graph it is written `node:number`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.models.graph_rewriting.conditions import known_booleans
from core.models.graph_rewriting.nodes import Nodes, edges, plain
from core.models.graph_safety import node_name

_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
_CONDITIONS = frozenset(("If", "StatelessIf"))
_MOST_NODES = 200_000
_MOST_DEPTH = 64
"""Upper bounds on the nodes of all calls together and on calls within calls, as functions may call themselves."""


def with_functions_inlined(nodes: Nodes, library: Any) -> bool:
    """Put the bodies of functions in the place of calls, and of conditions whose predicate is known.

    A node `f` that calls a function is replaced with nodes called `f/...`.

    Args:
        library: the functions of the graph.

    Returns:
        whether all calls have been replaced, and there was one. If not, the nodes are of no use any more.
    """
    functions = {function.signature.name: function for function in library.function}
    tensors: dict[str, str] = {}
    depth = count = 0
    while calls := list(_calls(nodes, functions)):
        depth += 1
        for name, function in calls:
            count += len(function.node_def)
            if depth > _MOST_DEPTH or count > _MOST_NODES or not _put(nodes, name, function, tensors):
                return False
        nodes.remove([name for name, _ in calls])
    _resolve(nodes, tensors)
    return depth > 0


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


def _put(nodes: Nodes, name: str, function: Any, tensors: dict[str, str]) -> bool:
    """Put the body of a function beside a call of it; return False if that is not possible.

    Args:
        tensors: output of a call -> the tensor that has taken its place; the outputs of this call are added.
    """
    node = nodes[name]
    given, arguments = edges(node), function.signature.input_arg
    lists = any(argument.number_attr or argument.type_list_attr for argument in arguments)
    if lists or len(given) != len(arguments) or any(f"{name}/{one.name}" in nodes for one in function.node_def):
        return False
    inside: dict[str, str] = {argument.name: edge for argument, edge in zip(arguments, given, strict=True)}
    for one in function.node_def:
        offset = 0
        for output, length in _outputs(one):
            inside |= {f"{one.name}:{output}:{at}": f"{name}/{one.name}:{offset + at}" for at in range(length)}
            offset += length
    bodies = {one.name for one in function.node_def}
    returned = [inside.get(function.ret[output.name]) for output in function.signature.output_arg]
    if None in returned:
        return False
    for one in function.node_def:
        data = [inside.get(edge) for edge in one.input if not edge.startswith("^")]
        control = [f"^{name}/{edge[1:]}" for edge in one.input if edge.startswith("^") and edge[1:] in bodies]
        if None in data:
            return False
        copy = nodes.add(f"{name}/{one.name}", one.op, *map(plain, filter(None, data)), *control, types={})
        nodes.added.discard(copy.name)
        for key, value in one.attr.items():
            copy.attr[key].CopyFrom(value)
    tensors |= {plain(f"{name}:{at}"): plain(str(tensor)) for at, tensor in enumerate(returned)}
    return True


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
