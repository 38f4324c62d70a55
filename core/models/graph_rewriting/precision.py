"""Half precision and double precision as float32, the only type in which layers are rendered."""

from __future__ import annotations

from typing import Any

import numpy as np

from core.models.graph_rewriting.nodes import FLOAT, Nodes, type_of

_DOUBLE, _BFLOAT16, _HALF = 2, 14, 19
_OTHER_FLOATS = frozenset((_DOUBLE, _BFLOAT16, _HALF))
_UNCHANGEABLE = frozenset(("Bitcast",))
"""Operations that look at the bits of their input."""


def in_float32(nodes: Nodes) -> None:
    """Replace all other floating types with float32, unless a node looks at the bits of a number."""
    others = [name for name in nodes if any(map(_has_another_float, nodes[name].attr.values()))]
    if not others or any(nodes[name].op in _UNCHANGEABLE for name in nodes):
        return
    for name in others:
        node = nodes.edit(name)
        for attribute in node.attr.values():
            _convert(attribute)
        if node.op == "Cast" and type_of(node, "SrcT") == type_of(node, "DstT") == FLOAT:
            nodes.become(name, "Identity", *node.input, types={"T": FLOAT})


def _has_another_float(attribute: Any) -> bool:
    return (
        attribute.type in _OTHER_FLOATS
        or attribute.tensor.dtype in _OTHER_FLOATS
        or not _OTHER_FLOATS.isdisjoint(attribute.list.type)
    )


def _convert(attribute: Any) -> None:
    match attribute.WhichOneof("value"):
        case "type" if attribute.type in _OTHER_FLOATS:
            attribute.type = FLOAT
        case "list":
            types = [FLOAT if one in _OTHER_FLOATS else one for one in attribute.list.type]
            del attribute.list.type[:]
            attribute.list.type.extend(types)
        case "tensor" if attribute.tensor.dtype in _OTHER_FLOATS:
            _convert_tensor(attribute.tensor)


def _convert_tensor(tensor: Any) -> None:
    """Convert the values that the file has of a tensor, which may be fewer than its shape claims."""
    if tensor.tensor_content:
        values = _numbers(tensor.tensor_content, tensor.dtype)
        with np.errstate(over="ignore"):  # infinite weights are refused later
            tensor.tensor_content = values.astype("<f4").tobytes()
    elif tensor.dtype == _DOUBLE:
        with np.errstate(over="ignore"):
            tensor.float_val.extend(np.asarray(tensor.double_val, np.float64).astype(np.float32))
        del tensor.double_val[:]
    else:
        bits = (np.asarray(tensor.half_val, np.int64) & 0xFFFF).astype("<u2")
        tensor.float_val.extend(_numbers(bits.tobytes(), tensor.dtype).astype(np.float32))
        del tensor.half_val[:]
    tensor.dtype = FLOAT


def _numbers(data: bytes, dtype: int) -> Any:
    """Return the numbers in *data*; bytes behind the last whole one are left out."""
    width = 8 if dtype == _DOUBLE else 2
    whole = data[: len(data) // width * width]
    if dtype == _DOUBLE:
        return np.frombuffer(whole, "<f8")
    if dtype == _HALF:
        return np.frombuffer(whole, "<f2")
    return (np.frombuffer(whole, "<u2").astype("<u4") << 16).view("<f4")  # bfloat16: the upper half of a float32
