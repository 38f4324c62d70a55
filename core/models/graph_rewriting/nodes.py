"""The nodes of a GraphDef by name, which are changed without changing the GraphDef itself."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.models.graph.reached import reached
from core.models.graph.safety import inputs_of, node_name

FLOAT, UINT8, INT32, STRING, BOOL = 1, 4, 3, 7, 10  # DataType
_LONGEST_CHAIN = 1000
"""Upper bound on the nodes one after another that are followed because they only pass a tensor on."""
_LARGEST_READ = 1 << 20
"""Bytes that a constant may have more than the file holds of it, such as repeated values, to be read here."""


class Nodes:
    """The nodes of a graph, by name and in the order of the file.

    A node must not be changed except by what `edit` and `add` return.

    Args:
        graph_def: a GraphDef whose names are unique.
    """

    def __init__(self, graph_def: Any) -> None:
        self._graph_def = graph_def
        self._by_name: dict[str, Any] = {node.name: node for node in graph_def.node}
        self._own: set[str] = set()
        self.added: set[str] = set()
        self.changed = False
        self._has_library = True

    def __getitem__(self, name: str) -> Any:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._by_name))

    def __len__(self) -> int:
        return len(self._by_name)

    def edit(self, name: str) -> Any:
        """Return a copy of a node that has taken its place, to be changed."""
        if name not in self._own:
            copy = type(self._by_name[name])()
            copy.CopyFrom(self._by_name[name])
            self._by_name[name] = copy
            self._own.add(name)
            self.changed = True
        return self._by_name[name]

    def add(self, name: str, op: str, *inputs: str, types: Mapping[str, int]) -> Any:
        """Add a node whose name is *name*, or similar if there is such a node, and return it."""
        from tensorflow.core.framework import node_def_pb2

        unique = name
        number = 0
        while unique in self._by_name:
            number += 1
            unique = f"{name}_{number}"
        node = self._by_name[unique] = node_def_pb2.NodeDef(name=unique, op=op, input=inputs)
        set_types(node, types)
        self._own.add(unique)
        self.added.add(unique)
        self.changed = True
        return node

    def constant(self, name: str, values: NDArray[Any]) -> str:
        """Add a constant and return its name."""
        from tensorflow import make_tensor_proto

        proto = make_tensor_proto(values)
        node = self.add(name, "Const", types={"dtype": proto.dtype})
        node.attr["value"].tensor.CopyFrom(proto)
        return str(node.name)

    def become(self, name: str, op: str, *inputs: str, types: Mapping[str, int]) -> Any:
        """Replace a node with another one of the same name and return it."""
        node = self.edit(name)
        node.op = op
        del node.input[:]
        node.input.extend(inputs)
        node.attr.clear()
        set_types(node, types)
        return node

    def remove(self, names: Collection[str]) -> None:
        """Remove some nodes, and the control edges from them."""
        for name in names:
            del self._by_name[name]
            self.changed = True
        gone = set(names)
        for name, node in list(self._by_name.items()):
            if any(edge.startswith("^") and edge[1:] in gone for edge in node.input):
                kept = [edge for edge in node.input if not (edge.startswith("^") and edge[1:] in gone)]
                copy = self.edit(name)
                del copy.input[:]
                copy.input.extend(kept)

    def redirect(self, tensors: Mapping[str, str], but: Collection[str] = ()) -> None:
        """Replace inputs of all nodes but some.

        Args:
            tensors: tensor -> the one that replaces it, both as `plain` writes them.
        """
        for name, node in list(self._by_name.items()):
            if name not in but and any(plain(edge) in tensors for edge in node.input):
                copy = self.edit(name)
                edges = [tensors.get(plain(edge), edge) for edge in copy.input]
                del copy.input[:]
                copy.input.extend(edges)

    def consumers(self) -> dict[str, list[str]]:
        """Return node -> the nodes that have it among their inputs, those by control edges included."""
        found: dict[str, list[str]] = {name: [] for name in self._by_name}
        for name, node in self._by_name.items():
            for before in dict.fromkeys(node_name(edge) for edge in node.input):
                found[before].append(name)
        return found

    def unneeded(self, consumers_before: Mapping[str, Collection[str]]) -> set[str]:
        """Return the nodes that had consumers and have none any more, or only such nodes."""
        left = {name: len(users) for name, users in self.consumers().items()}
        ahead = [name for name, count in left.items() if count == 0 and consumers_before.get(name)]
        found: set[str] = set()
        while ahead:
            name = ahead.pop()
            found.add(name)
            for before in {node_name(edge) for edge in self._by_name[name].input}:
                left[before] -= 1
                if left[before] == 0 and before not in found:
                    ahead.append(before)
        return found

    def behind(self, starts: Iterable[str]) -> set[str]:
        """Return some nodes and all nodes that depend on their values."""
        consumers: dict[str, list[str]] = {}
        for name, node in self._by_name.items():
            for before in data_inputs(node):
                consumers.setdefault(before, []).append(name)
        return reached(starts, lambda name: consumers.get(name, ()))

    def before(self, ends: Iterable[str], *, control: bool = False) -> set[str]:
        """Return some nodes and all nodes whose values they depend on; with *control*, also by control edges."""
        if control:
            return reached(ends, lambda name: inputs_of(self._by_name[name]))
        return reached(ends, lambda name: data_inputs(self._by_name[name]))

    def keep(self, names: Collection[str]) -> None:
        """Remove all other nodes."""
        self.remove([name for name in self._by_name if name not in names])

    def original(self, tensor: str) -> Any:
        """Return the node that a tensor is the first output of, also through nodes that only pass it on."""
        node = self._by_name[node_name(tensor)]
        for _ in range(_LONGEST_CHAIN):
            if node.op not in ("Identity", "StopGradient") or not node.input:
                break
            node = self._by_name[node_name(node.input[0])]
        return node

    def value(self, tensor: str) -> NDArray[Any] | None:
        """Return the value of a constant tensor; None if it is not constant, or much larger than what the file has."""
        node = self.original(tensor)
        return constant_value(node) if node.op == "Const" else None

    def integers(self, tensor: str) -> list[int] | None:
        """Return the value of a constant tensor of integers with at most one axis, or None."""
        value = self.value(tensor)
        if value is None or value.dtype.kind not in "iu" or value.ndim > 1 or value.size > 64:
            return None
        return [int(number) for number in value.reshape(-1)]

    def without_library(self) -> None:
        """Leave the functions of the graph out."""
        self._has_library = False
        self.changed = True

    def graph_def(self) -> Any:
        """Return the graph: the original one if nothing has changed."""
        if not self.changed:
            return self._graph_def
        changed = type(self._graph_def)()
        changed.versions.CopyFrom(self._graph_def.versions)
        if self._has_library:
            changed.library.CopyFrom(self._graph_def.library)
        changed.node.extend(self._by_name.values())
        return changed


def constant_value(node: Any) -> NDArray[Any] | None:
    """Return the value of a constant, or None if it cannot be read or claims much more than the file has."""
    from tensorflow import as_dtype, make_ndarray

    if "value" not in node.attr:
        return None
    tensor = node.attr["value"].tensor
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    try:
        claimed = math.prod(sizes) * (as_dtype(tensor.dtype).size or 1)
        if tensor.tensor_shape.unknown_rank or min(sizes, default=0) < 0 or claimed > tensor.ByteSize() + _LARGEST_READ:
            return None
        return np.asarray(make_ndarray(tensor))
    except (TypeError, ValueError, IndexError):
        return None


def plain(tensor: str) -> str:
    """Return the name of an input, `node` for the first output of a node."""
    return tensor.removesuffix(":0")


def port(tensor: str) -> int:
    """Return which output of its node a tensor is."""
    number = tensor.partition(":")[2]
    return int(number) if number.isdecimal() else 0


def data_inputs(node: Any) -> list[str]:
    """Return the nodes whose values a node takes, without those of control edges."""
    return [node_name(edge) for edge in node.input if not edge.startswith("^")]


def edges(node: Any) -> list[str]:
    """Return the tensors that a node takes."""
    return [edge for edge in node.input if not edge.startswith("^")]


def type_of(node: Any, key: str) -> int:
    """Return an attribute that is a type, 0 if there is none. Reading `node.attr[key]` would add it."""
    return int(node.attr[key].type) if key in node.attr else 0


def text_of(node: Any, key: str) -> str:
    """Return an attribute that is a text, empty if there is none."""
    return node.attr[key].s.decode(errors="replace") if key in node.attr else ""


def number_of(node: Any, key: str) -> int:
    """Return an attribute that is an integer, 0 if there is none."""
    return int(node.attr[key].i) if key in node.attr else 0


def set_types(node: Any, types: Mapping[str, int]) -> None:
    """Set attributes of a node that are types."""
    for key, value in types.items():
        node.attr[key].type = value


def sizes_of(node: Any, key: str = "shape") -> list[int] | None:
    """Return the sizes in an attribute of a node, -1 for those that are free, or None if the rank is not known."""
    if key not in node.attr:
        return None
    shape = node.attr[key].shape
    return None if shape.unknown_rank else [int(dimension.size) for dimension in shape.dim]


def set_sizes(node: Any, sizes: Iterable[int] | None, key: str = "shape") -> None:
    """Set an attribute of a node that is a shape; None: of unknown rank."""
    shape = node.attr[key].shape
    shape.Clear()
    if sizes is None:
        shape.unknown_rank = True
    else:
        for size in sizes:
            shape.dim.add(size=size)
