"""Operations on sizes: arithmetic, and what moves them about.

Nothing of these operations is left in the translated graph if the sizes are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from core.models.onnx_graph.arithmetic import whole_quotient
from core.models.onnx_graph.folding import fold
from core.models.onnx_graph.node import Node
from core.models.onnx_graph.values import FLOATS, Constant, Sizes, Tensor, UnknownOperatorError, Value, are_known

ARITHMETIC = frozenset("Add Clip Div Equal Greater Less Max Min Mod Mul Sub Where".split())
"""Operations item by item."""
MOVING = frozenset("Concat Expand Flatten Gather GatherND Reshape Slice Split Squeeze Tile Transpose Unsqueeze".split())
"""Operations that make nothing new. All inputs of `Concat` have items, and the first one of the others."""
ONE_BY_ONE = frozenset("Abs Cast CastLike Ceil Floor Neg Round Sqrt".split())
"""Operations of each item by itself."""
REDUCTIONS = frozenset("ReduceMax ReduceMin ReduceProd ReduceSum".split())
"""Operations from all items to one."""
_MOST = 4096  # items; there are few, or it is no shape


def of_sizes(proto: Any, node: Node, inputs: Sequence[Value | None]) -> Sequence[Sizes] | None:
    """Return what a node makes of sizes and known numbers, or None if it needs a tensor for that."""
    values = [item for item in inputs if item is not None and not isinstance(item, Tensor)]
    if len(values) < len([item for item in inputs if item is not None]):
        return None
    counts = [item.items.size if isinstance(item, Sizes) else item.size for item in values]
    if not any(isinstance(item, Sizes) for item in values) or sum(counts) > _MOST:
        return None
    if node.operator in MOVING:
        return _moved(proto, node, inputs)
    if node.operator in ARITHMETIC:
        if node.operator == "Clip":
            return [_clipped(node, inputs)]
        return [_arithmetic(node, [_objects(item) for item in values])]
    if node.operator in ONE_BY_ONE:
        items = _objects(values[0])
        return [Sizes(_array([_one(node, item) for item in items.flat]).reshape(items.shape))]
    if node.operator in REDUCTIONS:
        return _reduced(node, _objects(values[0]))
    return None


def _objects(value: Value) -> np.ndarray[Any, np.dtype[np.object_]]:
    if isinstance(value, Sizes):
        return value.items
    assert isinstance(value, np.ndarray)
    return _array(value.reshape(-1).tolist()).reshape(value.shape)


def _array(items: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.object_]]:
    return Sizes.of(items).items


def _moved(proto: Any, node: Node, inputs: Sequence[Value | None]) -> Sequence[Sizes] | None:
    """Move the places of the items as if they were the items."""
    parts: list[Constant | None] = []
    pool: list[Any] = []
    for number, value in enumerate(inputs):
        if value is not None and (number == 0 or node.operator == "Concat"):
            items = _objects(value)
            parts.append(np.arange(len(pool), len(pool) + items.size).reshape(items.shape))
            pool += list(items.flat)
        elif isinstance(value, Sizes):
            if not value.are_known:
                return None
            parts.append(value.constant())
        else:
            assert not isinstance(value, Tensor)
            parts.append(value)
    found = fold(proto, node.opset, parts, [_MOST])
    return [Sizes(_array([pool[int(place)] for place in places.flat]).reshape(places.shape)) for places in found]


def _one(node: Node, item: Any) -> Any:
    import tensorflow as tf

    if node.operator in ("Cast", "CastLike"):
        whole = node.get("to", 7) not in FLOATS
        if isinstance(item, (int, float)):
            return int(item) if whole else float(item)
        return tf.cast(item, tf.int32 if whole else tf.float32)
    exact: Mapping[str, Callable[[Any], Any]] = {
        "Abs": abs, "Ceil": math.ceil, "Floor": math.floor, "Neg": lambda x: -x, "Round": round, "Sqrt": math.sqrt
    }  # fmt: skip
    if isinstance(item, (int, float)):
        return type(item)(exact[node.operator](item))
    functions: Mapping[str, Callable[[Any], Any]] = {
        "Abs": tf.abs, "Ceil": lambda x: -tf.floor(-x), "Floor": tf.floor, "Neg": lambda x: -x, "Sqrt": tf.sqrt
    }  # fmt: skip
    if node.operator not in functions:
        raise UnknownOperatorError("sizes that depend on the image")
    return functions[node.operator](item)


def _arithmetic(node: Node, parts: Sequence[np.ndarray[Any, Any]]) -> Sizes:
    import tensorflow as tf

    def of_tensors(name: str, *items: Any) -> Any:
        floating = any(isinstance(item, float) or (tf.is_tensor(item) and item.dtype.is_floating) for item in items)
        dtype = tf.float32 if floating else tf.int32
        given = [item if tf.is_tensor(item) else tf.constant(item, dtype) for item in items]
        functions: Mapping[str, Callable[..., Any]] = {
            "Add": tf.add, "Div": tf.divide if floating else whole_quotient, "Max": tf.maximum, "Min": tf.minimum,
            "Mod": tf.math.floormod, "Mul": tf.multiply, "Sub": tf.subtract,
        }  # fmt: skip
        if name not in functions:
            raise UnknownOperatorError("a decision that depends on the size of the image")
        return functions[name](*given)

    exact: Mapping[str, Callable[..., Any]] = {
        "Add": lambda a, b: a + b,
        "Div": lambda a, b: a / b if isinstance(a, float) else int(a / b) if a * b < 0 else a // b,
        "Equal": lambda a, b: int(a == b),
        "Greater": lambda a, b: int(a > b),
        "Less": lambda a, b: int(a < b),
        "Max": max,
        "Min": min,
        "Mod": lambda a, b: a % b,
        "Mul": lambda a, b: a * b,
        "Sub": lambda a, b: a - b,
    }

    def one(*items: Any) -> Any:
        if node.operator == "Where" and are_known(items[:1]):
            return items[1] if items[0] else items[2]
        if are_known(items):
            return exact[node.operator](*items)
        if node.operator == "Equal" and _is_no_size(*items):
            return 0
        return of_tensors(node.operator, *items)

    shape = np.broadcast_shapes(*(part.shape for part in parts))
    if math.prod(shape) > _MOST:
        raise UnknownOperatorError("a shape of that length")
    flat = [list(np.broadcast_to(part, shape).flat) for part in parts]
    return Sizes(_array([one(*items) for items in zip(*flat, strict=True)]).reshape(shape))


def _clipped(node: Node, inputs: Sequence[Value | None]) -> Sizes:
    found = Sizes(_objects(inputs[0])) if inputs[0] is not None else Sizes.of([])
    for kind, bound in zip(("Max", "Min"), inputs[1:], strict=False):
        if bound is not None:
            found = _arithmetic(Node(kind, {}, node.opset), [found.items, _objects(bound)])
    return found


def _is_no_size(*items: Any) -> bool:
    """Return whether one item is a number that no size has: exporters ask whether an item is -1."""
    return any(isinstance(item, int) and item < 0 for item in items)


def _reduced(node: Node, items: np.ndarray[Any, Any]) -> Sequence[Sizes] | None:
    if items.ndim != 1:
        return None
    kind = {"ReduceMax": "Max", "ReduceMin": "Min", "ReduceProd": "Mul", "ReduceSum": "Add"}[node.operator]
    total = items[:1]
    for place in range(1, len(items)):
        total = _arithmetic(Node(kind, {}, node.opset), [total, items[place : place + 1]]).items
    return [Sizes(total if node.get("keepdims", 1) else total.reshape(()))]
