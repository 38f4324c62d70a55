"""The layers of a checked graph: their shapes for images of a size, and their tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from core.models.graph.checked import CheckedGraph
from core.models.graph.layer_names import LayerNames
from core.models.graph.layouts import layouts
from core.models.graph.safety import UnfitError, inputs_of
from core.models.graph.views import view
from core.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import tensorflow as tf

Shape = tuple[int | None, ...]
"""(height, width, channel) or (channel,), without the batch."""
_MOST_UNFIT_LAYERS = 16
"""Give up after this many layers have rejected the size of the images; each is found by bisection."""
_DEFAULT_SIZE_PX = 224


class GraphLayers:
    """The layers of a checked graph.

    Args:
        names: the names of the layers.
        preprocessing: turns images into the values that the network expects.
        own_size: height and width of the images that the network was made for, if its input does not say.
        skipped_tokens: number of tokens before those of patches, if the graph does not show it.

    Attributes:
        token_layers: the layers of tokens among those that have been looked at.
    """

    def __init__(
        self,
        graph: CheckedGraph,
        names: LayerNames,
        preprocessing: Preprocessing,
        own_size: tuple[int, int] | None,
        skipped_tokens: int | None,
    ) -> None:
        self._graph, self._names, self._preprocessing = graph, names, preprocessing
        self._given_size, self._skipped_tokens = own_size, skipped_tokens
        self.token_layers: set[str] = set()

    @property
    def own_size(self) -> tuple[int, int] | None:
        """Height and width of the images that the network was made for, or None if any size is as good."""
        height, width, _ = self._graph.input_sizes
        of_input = None if height is None or width is None else (height, width)
        return self._preprocessing.size or of_input or self._given_size

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Layer -> shape (height, width, channel) or (channel,), without the batch, at the network's size of images."""
        try:
            return self._shapes_at(self.own_size or (_DEFAULT_SIZE_PX, _DEFAULT_SIZE_PX), self._graph.order)
        except UnfitError:  # nodes after a reshape to a fixed size may fit another size of images, or none
            return self._shapes_at((None, None), self._graph.order)

    def shapes_for(self, size: tuple[int, int], layers: Iterable[str]) -> Mapping[str, Shape]:
        """Return the shapes of layers for images of this size, without those layers that do not take them."""
        fitting = self.fitting(size, layers)
        return {**self.shapes, **fitting} if self.own_size else fitting

    def fitting(self, size: tuple[int, int], layers: Iterable[str]) -> Mapping[str, Shape]:
        """Return the shapes of those layers that images of this size have with all their channels."""
        nodes = self._graph.reached_from([node for layer in layers for node in self._names.nodes(layer)])
        shapes = self._fitting_shapes(size, [name for name in self._graph.order if name in nodes])
        return {layer: shapes[layer] for layer in layers if shapes.get(layer, (None,))[-1] == self.shapes[layer][-1]}

    def _fitting_shapes(self, size: tuple[int, int], names: list[str]) -> Mapping[str, Shape]:
        """Return the shapes of all nodes that do not depend on a node which rejects images of this size."""
        for _ in range(_MOST_UNFIT_LAYERS):
            try:
                return self._shapes_at(size, names)
            except UnfitError:
                fits, fails = 0, len(names)  # numbers of names; TensorFlow does not say which node failed
                while fails - fits > 1:
                    middle = (fits + fails) // 2
                    try:
                        self._shapes_at(size, names[:middle])
                        fits = middle
                    except UnfitError:
                        fails = middle
                unfit = {names[fits]}
                for name in names[fails:]:
                    if not unfit.isdisjoint(inputs_of(self._graph.nodes[name])):
                        unfit.add(name)
                names = [name for name in names if name not in unfit]
        return {}

    def _shapes_at(self, size: tuple[int | None, int | None], names: Sequence[str]) -> dict[str, Shape]:
        """Return layer -> shape without the batch, for images of this height and width.

        Raises:
            UnfitError: if one of the nodes rejects images of this size.
        """
        import tensorflow as tf

        graph = tf.Graph()
        with graph.as_default():
            image = self._preprocessing(tf.compat.v1.placeholder(tf.float32, (1, *size, 3)))
            operations = self._graph.imported(names, image)
            layers = [
                layer
                for name in names
                if name in self._graph.fed_by_images
                for layer in self._names.of(self._graph.nodes[name])
            ]
            views = self._views(operations, layers, image)
        return {layer: tuple(tensor.shape[1:]) for layer, tensor in views.items()}

    def tensors(self, images: tf.Tensor, wanted: Sequence[str]) -> dict[str, tf.Tensor]:
        """Return layer -> tensor, in TensorFlow's current graph."""
        found: dict[str, tf.Tensor] = {}
        for layers, preprocessing in self._parts(wanted, tuple(images.shape[1:3])):
            image = preprocessing(images)
            names = self._graph.reached_from([node for layer in layers for node in self._names.nodes(layer)])
            operations = self._graph.imported(names, image, with_weights=True)
            found |= self._views(operations, layers, image)
        return found

    def _parts(self, wanted: Sequence[str], size: tuple[int, int]) -> list[tuple[Sequence[str], Preprocessing]]:
        """Return the layers that take images of this size, and those that need images of the network's own size.

        Every layer is thus the same function of the images, whatever other layers are wanted.
        """
        if self._preprocessing.size is not None or self.own_size in (None, size):
            return [(wanted, self._preprocessing)]
        fitting = self.fitting(size, wanted)
        resized = replace(self._preprocessing, size=self.own_size)
        parts = (
            ([layer for layer in wanted if layer in fitting], self._preprocessing),
            ([layer for layer in wanted if layer not in fitting], resized),
        )
        return [(layers, preprocessing) for layers, preprocessing in parts if layers]

    def _views(
        self, operations: Mapping[str, tf.Operation], layers: Iterable[str], image: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Return layer -> tensor with its channels last, without those layers that have no axis of channels.

        Args:
            operations: node -> operation of an imported part of the graph.
            image: what was imported for the input.
        """
        import tensorflow as tf

        found = layouts(operations.values(), image, image.shape[0])
        patches = list(dict.fromkeys(layout.patches for layout in found.values() if layout.patches))
        views: dict[str, tf.Tensor] = {}
        for layer in layers:
            tensors = [operations[node].outputs[0] for node in self._names.nodes(layer)]
            parts = [view(tensor, found.get(tensor.name), patches, self._skipped_tokens) for tensor in tensors]
            if any(part is None for part in parts):
                continue
            views[layer] = parts[0] if len(parts) == 1 else tf.concat(parts, axis=-1)
            if tensors[0].shape.rank == 3:
                self.token_layers.add(layer)
        return views
