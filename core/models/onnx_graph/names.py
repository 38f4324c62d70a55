"""Names of the tensors of an ONNX graph: the paths of the modules of PyTorch that computed them.

Both of PyTorch's exporters say which module a node comes from. The older one has it in the node's name,
`/layer2/layer2.0/conv1/Conv`, the newer one in its metadata. What a module returns is the last of its tensors that
something outside it uses, and it has the module's path for a name, `layer2.0.conv1`.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

_SCOPES = "pkg.torch.onnx.name_scopes"
_NO_MODULE = "_empty_nn_module"
_LONGEST = 10_000  # characters of a node's scopes
ACTIVATIONS = frozenset(
    "Celu Clip Elu Gelu HardSigmoid HardSwish LeakyRelu Mish PRelu Relu Selu Sigmoid Softplus Softsign Swish Tanh "
    "ThresholdedRelu".split()
)
"""Operators that are activations by themselves."""
_BY_VALUE = ACTIVATIONS | {"Add", "Div", "Erf", "Exp", "Log", "Mul", "Neg", "Pow", "Sub"}
_MOST_NODES = 12  # of one activation


def module_of(node: Any) -> str:
    """Return the path of the module that a node comes from; empty for the network itself, or if it is not said."""
    for entry in node.metadata_props:
        if entry.key == _SCOPES and len(entry.value) < _LONGEST:
            try:
                scopes = ast.literal_eval(entry.value)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                return ""
            modules = [scope for scope in scopes[:-1] if isinstance(scope, str)] if isinstance(scopes, list) else []
            return modules[-1] if modules and not modules[-1].startswith(_NO_MODULE) else ""
    if not node.name.startswith("/"):
        return ""
    path = ""
    for part in node.name.split("/")[1:-1]:
        # The children of a container have the container's path in their names.
        container = next((end for end in _ends(path) if part.startswith(f"{end}.")), None)
        path = path[: len(path) - len(container)] + part if container else ".".join(filter(None, (path, part)))
    return path


def _ends(path: str) -> Iterator[str]:
    """Yield the path, and the path without its first part, without its first two, and so on."""
    while path:
        yield path
        path = path.partition(".")[2]


def named_tensors(nodes: Sequence[Any], known: Collection[str], outputs: Collection[str]) -> dict[str, str]:
    """Return name -> tensor, in the order of the graph, for every tensor of *known*.

    A module that is called several times gives its later results the names `path_1`, `path_2`. A tensor that no module
    returns has its own name. Every tensor of a module is found under its own name too.
    """
    modules = [module_of(node) for node in nodes]
    users: dict[str, list[int]] = {}
    for place, node in enumerate(nodes):
        for tensor in node.input:
            users.setdefault(tensor, []).append(place)
    returned: dict[str, list[str]] = {}
    for place, node in enumerate(nodes):
        for tensor in filter(None, node.output):
            outside = [modules[user] for user in users.get(tensor, [])]
            for path in _paths(modules[place]):
                if tensor in outputs or any(not _within(user, path) for user in outside):
                    returned.setdefault(path, []).append(tensor)
    parents = {path.rpartition(".")[0] for path in returned}
    names: dict[str, str] = {}
    for path, tensors in returned.items():
        kept = [tensor for tensor in tensors if tensor in known]
        calls = kept[-1:] if path in parents else kept
        for number, tensor in enumerate(calls):
            names[f"{path}_{number}" if number else path] = tensor
    ordered: dict[str, str] = {}
    by_tensor: dict[str, list[str]] = {}
    for name, tensor in names.items():
        by_tensor.setdefault(tensor, []).append(name)
    for node in nodes:
        for tensor in node.output:
            if tensor in known:
                for name in sorted(by_tensor.get(tensor, []), key=len, reverse=True):
                    ordered[name] = tensor
                ordered.setdefault(tensor, tensor)
    return ordered


def _paths(module: str) -> Iterator[str]:
    """Yield a module and those that it is part of."""
    while module:
        yield module
        module = module.rpartition(".")[0]


def _within(module: str, path: str) -> bool:
    return module == path or module.startswith(f"{path}.")


def before_activations(
    nodes: Sequence[Any], names: Mapping[str, str], known: Collection[str], scalars: Collection[str]
) -> dict[str, str]:
    """Return `name_pre_relu` -> tensor of *known* for every named tensor that an activation has just made.

    A name that is taken is left out.

    Args:
        scalars: the constants that are one number.
    """
    made = {tensor: place for place, node in enumerate(nodes) for tensor in node.output}
    found: dict[str, str] = {}
    for name, tensor in names.items():
        before = _input_of_activation(nodes, made, tensor, scalars)
        if before is not None and before in known and f"{name}_pre_relu" not in names:
            found[f"{name}_pre_relu"] = before
    return found


def _input_of_activation(
    nodes: Sequence[Any], made: Mapping[str, int], tensor: str, scalars: Collection[str]
) -> str | None:
    """Return the tensor that an activation is of, or None if another operation has made *tensor*.

    Exporters take activations apart, such as x * sigmoid(x). What is computed value by value from one tensor and from
    numbers, with an activation in between, is an activation of the last tensor that everything passes through.
    """
    ahead, bends = {tensor}, False
    for _ in range(_MOST_NODES):
        latest = max(ahead, key=lambda name: made.get(name, -1))
        place = made.get(latest)
        if place is None or nodes[place].op_type not in _BY_VALUE:
            return None
        node = nodes[place]
        bends |= node.op_type in ACTIVATIONS or node.op_type == "Erf"
        inputs = node.input[:1] if node.op_type in ACTIVATIONS else node.input  # the others are parameters
        ahead = (ahead - {latest}) | {name for name in inputs if name and name not in scalars}
        if not ahead:
            return None
        if bends and len(ahead) == 1:
            return ahead.pop()
    return None
