"""A walkable atlas for tests, so small that the real functions render it in one or two seconds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from core.atlas.chunks import Chunk, PlannedChunk
from core.atlas.plan import Plan, make_plan
from core.rendering.chunk import ChunkResult, render_chunk
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import Store

LAYER = "block0_depthwise_pre_relu"
RENDER: dict[str, Any] = {
    "frames": 4, "size_px": 32, "steps": 3, "redirected_updates": 0, "alignment": {"layers": ["stem"]},
}  # fmt: skip


def walk_spec(neurons: str = f"{LAYER}:0-3", **changes: Any) -> AtlasSpec:
    """Return a spec of all pairs among some neurons, with strips between portraits."""
    pairs = {"select": "all", "neurons": neurons.split()}
    facts = {"name": "walk", "strip": "walk", "pairs": pairs, "render": RENDER, "compute": {"chunk_pairs": 2}}
    return parse_spec(facts | changes, "here")


def planned(plan: Plan, chunk: Chunk) -> PlannedChunk:
    """Return the input of a render task for a chunk of the plan."""
    return PlannedChunk(plan.model, plan.model_digest, plan.settings, chunk)


def build(spec: AtlasSpec, store: Store, rendered: Callable[[Chunk], Any] = lambda chunk: None) -> list[ChunkResult]:
    """Plan and render in this process, as a build does, until nothing is missing; return the results of all chunks.

    Args:
        rendered: called with each chunk after it has been rendered.
    """
    results = []
    while (plan := make_plan(spec, store, 1)).chunks:
        for chunk in plan.chunks:
            results.append(render_chunk(planned(plan, chunk), store))
            rendered(chunk)
    return results
