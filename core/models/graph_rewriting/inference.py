"""The rewriting of a graph for inference: one function, which calls the others in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.models.graph.safety import node_name
from core.models.graph_rewriting.batches import for_several_images
from core.models.graph_rewriting.channels_last import channels_last
from core.models.graph_rewriting.conditions import without_training
from core.models.graph_rewriting.functions import need_functions, with_functions_inlined
from core.models.graph_rewriting.images import find_images
from core.models.graph_rewriting.nodes import FLOAT, Nodes, edges
from core.models.graph_rewriting.precision import in_float32

_REPORTING = frozenset(("Assert", "AudioSummary", "ImageSummary", "HistogramSummary", "ScalarSummary", "MergeSummary"))
"""Operations that tell something about a network and are no part of it."""
_PASSING_ON = frozenset(("CheckNumerics", "EnsureShape", "PreventGradient", "Print"))
"""Operations that pass their input on and tell something, or check something that need not hold for a batch."""


@dataclass(frozen=True)
class Rewritten:
    """A graph for inference.

    Attributes:
        graph_def: the graph, which is the given one if nothing had to be changed. It is not checked.
        input_node: its placeholder of images, of float32, with channels last; None if no placeholder must be the one.
        value_range: the values of black and white if the type of the graph's images tells them.
        added: nodes that the graph has not had, which are no layers.
        channels_moved: whether the graph's layers have had their channels first; they have them last now.
    """

    graph_def: Any
    input_node: str | None = None
    value_range: tuple[float, float] | None = None
    added: frozenset[str] = frozenset()
    channels_moved: bool = False


def for_inference(graph_def: Any, wanted: str | None = None) -> Rewritten:
    """Return a graph that computes the same for inference, for any number of float images with channels last.

    The graph is not trusted: it is not given to TensorFlow, and what cannot be rewritten is left as it is.

    Args:
        graph_def: a GraphDef, which is not changed.
        wanted: the node, or tensor, whose place images take; None: the only one that can be of images.
    """
    names = {node.name for node in graph_def.node}
    if len(names) != len(graph_def.node) or any(
        node_name(edge) not in names for node in graph_def.node for edge in node.input
    ):
        return Rewritten(graph_def)
    nodes = Nodes(graph_def)
    if not with_functions_inlined(nodes, graph_def.library):
        return Rewritten(graph_def)
    inlined = nodes.changed
    _without_reports(nodes)
    without_training(nodes)
    in_float32(nodes)
    images = find_images(nodes, wanted)
    if inlined and not need_functions(nodes):
        nodes.without_library()
    if images is None:
        return Rewritten(nodes.graph_def(), added=frozenset(nodes.added))
    moved = channels_last(nodes, images.node if images.channels_first else None)
    for_several_images(nodes, images.node, images.beside)
    return Rewritten(nodes.graph_def(), images.node, images.value_range, frozenset(nodes.added), moved)


def _without_reports(nodes: Nodes) -> None:
    """Remove assertions and summaries, and what is computed for them alone."""
    reports = [name for name in nodes if nodes[name].op in _REPORTING]
    if reports:
        before = nodes.consumers()
        used = {
            name for name in reports if any(nodes[user].op not in _REPORTING for user in _users(nodes, before, name))
        }
        nodes.remove([name for name in reports if name not in used])
        nodes.remove(nodes.unneeded(before))
    for name in nodes:
        node = nodes[name]
        if node.op in _PASSING_ON and edges(node):
            dtype = node.attr["T"].type if "T" in node.attr else FLOAT
            nodes.become(name, "Identity", edges(node)[0], types={"T": dtype})


def _users(nodes: Nodes, consumers: dict[str, list[str]], name: str) -> list[str]:
    """Return the nodes that take a value of a node."""
    return [user for user in consumers[name] if name in {node_name(edge) for edge in edges(nodes[user])}]
