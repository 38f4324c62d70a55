"""The layouts of all tensors of a graph, found from the image on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from core.models.graph.layout import Layout, keeps_values, layout_of

if TYPE_CHECKING:
    import tensorflow as tf


def layouts(operations: Iterable[tf.Operation], image: tf.Tensor, batch: int) -> dict[str, Layout]:
    """Return tensor -> layout, for tensors that have channels.

    Args:
        operations: of a graph, each after those that it depends on.
        image: the input, shape (batch, height, width, channel).
        batch: its size; tensors with another first axis are not images.
    """
    known = {image.name: Layout((3, 4))}
    folded: dict[str, tuple[list[int | None], Layout]] = {}  # shape and layout before channels were put together
    depending = {image.name}
    divided: set[str] = set()  # tensors whose images are in parts, as for dilated convolutions and windows
    for operation in operations:
        if depending.isdisjoint(tensor.name for tensor in operation.inputs):
            continue
        depending.update(tensor.name for tensor in operation.outputs)
        if operation.type == "IdentityN":
            pairs = zip(operation.outputs, operation.inputs, strict=True)
            known.update((output.name, known[tensor.name]) for output, tensor in pairs if tensor.name in known)
            continue
        found = layout_of(operation, known, depending)
        if found is None and operation.outputs:
            found = _unfolded(operation, known, folded)
        for output in operation.outputs if found else ():
            rank = output.shape.rank
            if found and rank and 0 < found.channels[0] < found.channels[1] <= rank:
                known[output.name] = _fitted(found, output.shape.as_list())
                if output.shape[0] not in (batch, None):
                    divided.add(output.name)
    return {name: layout for name, layout in known.items() if name not in divided}


def _unfolded(
    operation: tf.Operation, known: Mapping[str, Layout], folded: dict[str, tuple[list[int | None], Layout]]
) -> Layout | None:
    """Return the layout of a tensor that is reshaped back, as group normalisations do after joining channels."""
    output = operation.outputs[0]
    if operation.type == "Reshape":
        data = operation.inputs[0]
        before = folded.get(data.name)
        if before and output.shape.rank is not None and output.shape.as_list() == before[0]:
            return before[1]
        if before is None and data.name in known and data.shape.rank is not None:
            before = data.shape.as_list(), known[data.name]
    elif not keeps_values(operation):
        return None
    else:
        same = [folded[tensor.name] for tensor in operation.inputs if tensor.name in folded]
        before = same[0] if len(same) == 1 or same[1:] == same[:-1] != [] else None
    if before is not None:
        folded[output.name] = before
    return None


def _fitted(found: Layout, shape: Sequence[int | None]) -> Layout:
    """Return a layout without the patches that the number of tokens contradicts."""
    patches = found.patches
    if patches and (len(shape) != 3 or found.axis is None or shape[3 - found.axis] != patches.tokens):
        return replace(found, patches=None)
    return found
