"""Conditions that are constant for inference: the branch that is taken stays, the other one goes.

In a graph of TensorFlow 1, `Switch` passes its first input on to one of two outputs, and everything that depends on the
other output is dead. `Merge` passes its input that is not dead on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from core.models.graph.safety import node_name
from core.models.graph_rewriting.nodes import BOOL, Nodes, edges, plain, port, sizes_of, type_of

_MOST_ROUNDS = 20
"""Upper bound on conditions that are nested in such a way that one is known only when another has been folded."""


def without_training(nodes: Nodes) -> None:
    """Make placeholders of booleans constant, and fold the conditions that are then known.

    A boolean placeholder says whether the network is trained: it is False, or has its default value.
    """
    _fix_booleans(nodes)
    for _ in range(_MOST_ROUNDS):
        if not any(nodes[name].op in ("Switch", "RefSwitch") for name in nodes):
            return
        if not _fold(nodes, known_booleans(nodes)):
            return


def _fix_booleans(nodes: Nodes) -> None:
    for name in nodes:
        node = nodes[name]
        if node.op == "Placeholder" and type_of(node, "dtype") == BOOL:
            from tensorflow import make_tensor_proto

            shape = [max(1, size) for size in sizes_of(node) or ()]
            value = np.zeros(shape if np.prod(shape, dtype=float) < 1 << 20 else (), bool)
            constant = nodes.become(name, "Const", types={"dtype": BOOL})
            constant.attr["value"].tensor.CopyFrom(make_tensor_proto(value))
        elif node.op == "PlaceholderWithDefault" and type_of(node, "dtype") == BOOL and node.input:
            nodes.become(name, "Identity", node.input[0], types={"T": BOOL})


def known_booleans(nodes: Nodes) -> dict[str, bool]:
    """Return node -> its value, for the nodes whose first output is a boolean that is known."""
    consumers = nodes.consumers()
    known: dict[str, bool] = {}
    ahead = [name for name in nodes if nodes[name].op == "Const" and type_of(nodes[name], "dtype") == BOOL]
    while ahead:
        name = ahead.pop()
        if name not in known and (value := _boolean(nodes, name, known)) is not None:
            known[name] = value
            ahead += consumers[name]
    return known


def _boolean(nodes: Nodes, name: str, known: Mapping[str, bool]) -> bool | None:
    node = nodes[name]
    if node.op == "Const":
        constant = nodes.value(name)
        return bool(constant) if constant is not None and constant.dtype == bool and constant.ndim == 0 else None
    values = [known.get(node_name(edge)) for edge in edges(node)]
    match node.op, values:
        case ("Identity" | "StopGradient", [value]) | ("Switch" | "RefSwitch", [value, _]):
            return value
        case "LogicalNot", [bool(value)]:
            return not value
        case ("LogicalAnd", [False, _] | [_, False]):
            return False
        case ("LogicalOr", [True, _] | [_, True]):
            return True
        case "LogicalAnd" | "LogicalOr", [bool(one), bool(_)]:
            return one
    return None


def _fold(nodes: Nodes, known: Mapping[str, bool]) -> bool:
    """Fold the conditions whose predicates are known; return whether there was one."""
    switches = {
        name: known[node_name(nodes[name].input[1])]
        for name in nodes
        if nodes[name].op in ("Switch", "RefSwitch")
        and len(nodes[name].input) >= 2
        and node_name(nodes[name].input[1]) in known
    }
    if not switches:
        return False
    before = nodes.consumers()
    dead = _dead(nodes, switches, before)
    indices: dict[str, str] = {}
    for name in nodes:
        node = nodes[name]
        if name in dead:
            continue
        if name in switches:
            nodes.become(name, "Identity", node.input[0], types={"T": type_of(node, "T")})
            nodes.added.add(name)  # a part of the condition without a name of its own
        elif node.op in ("Merge", "RefMerge"):
            inputs = edges(node)
            alive = [index for index, edge in enumerate(inputs) if not _is_dead(edge, dead, switches)]
            if len(alive) == 1 and len(inputs) > 1:
                index = alive[0]
                indices[f"{name}:1"] = nodes.constant(f"{name}/index", np.array(index, np.int32))
                nodes.become(name, "Identity", inputs[index], types={"T": type_of(node, "T")})
            elif len(alive) < len(inputs):  # no graph of TensorFlow's
                del nodes.edit(name).input[:]
                nodes.edit(name).input.extend(inputs[index] for index in alive)
    nodes.redirect({f"{name}:1": name for name in switches} | indices, but=dead)
    nodes.remove(dead)
    nodes.remove(nodes.unneeded({**before, **{name: ["one"] for name in indices.values()}}))
    return True


def _dead(nodes: Nodes, switches: Mapping[str, bool], consumers: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the nodes that never run, given switch -> its predicate."""
    dead: set[str] = set()
    ahead = [user for name in switches for user in consumers[name]]
    while ahead:
        name = ahead.pop()
        if name in dead:
            continue
        node = nodes[name]
        if node.op in ("Merge", "RefMerge"):
            inputs = [edge for edge in edges(node) if nodes[node_name(edge)].op not in ("NextIteration",)]
            is_dead = bool(inputs) and all(_is_dead(edge, dead, switches) for edge in inputs)
        else:
            is_dead = any(_is_dead(edge, dead, switches) for edge in node.input)
        if is_dead:
            dead.add(name)
            ahead += consumers[name]
    return dead


def _is_dead(edge: str, dead: Collection[str], switches: Mapping[str, bool]) -> bool:
    name = node_name(edge)
    if name in dead:
        return True
    return name in switches and not edge.startswith("^") and port(plain(edge)) != int(switches[name])
