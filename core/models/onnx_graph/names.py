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
_GATES = ("Sigmoid", "HardSigmoid")  # an activation if they are multiplied with what they are of


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


def before_activations(nodes: Sequence[Any], names: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """Return `name_pre_relu` -> tensor of *known* for every named tensor that an activation has just made.

    A name that is taken is left out.
    """
    made = {tensor: place for place, node in enumerate(nodes) for tensor in node.output}
    found: dict[str, str] = {}
    for name, tensor in names.items():
        place = made.get(tensor)
        if place is None:
            continue
        before = _input_of_activation(nodes, made, place)
        if before is not None and before in known and f"{name}_pre_relu" not in names:
            found[f"{name}_pre_relu"] = before
    return found


def _input_of_activation(nodes: Sequence[Any], made: Mapping[str, int], place: int) -> str | None:
    """Return the tensor that an activation is of: a single node, or x times a sigmoid of x."""
    node = nodes[place]
    if node.op_type in ACTIVATIONS:
        return str(node.input[0])
    if node.op_type == "Mul":
        for gate, tensor in (tuple(node.input), tuple(reversed(node.input))):
            maker = made.get(gate)
            if maker is not None and nodes[maker].op_type in _GATES and nodes[maker].input[0] == tensor:
                return str(tensor)
    return None
