"""Flow runs on workers: mistakes in their parameters, without a server."""

from __future__ import annotations

from typing import Any

import pytest

PAIRS = {"select": "all", "neurons": ["block1:0-1"]}
SPEC: dict[str, Any] = {"name": "mistakes", "pairs": PAIRS}
SHARD: dict[str, Any] = {"uri": "/nowhere", "plan_path": "plan/x", "chunks": ["x"]}


@pytest.mark.parametrize(
    ("flow", "parameters", "mistake"),
    [
        ("build_atlas", {"spec": SPEC}, None),
        ("build_atlas", {"spec": SPEC, "retry_failed": True}, None),
        ("build_atlas", {}, "spec: missing; build-atlas requires this parameter"),
        ("build_atlas", {"spec": 5}, "spec: expected a mapping with name and pairs, got 5"),
        ("build_atlas", {"spec": SPEC | {"nonsense": 1}}, "spec: nonsense: unknown key (known: "),
        ("build_atlas", {"spec": SPEC | {"pairs": 1}}, "spec: pairs: expected a mapping"),
        (
            "build_atlas",
            {"spec": SPEC, "other": 1},
            "other: unknown parameter of build-atlas; remove it (known: spec, retry_failed, only_images)",
        ),
        ("render_shard", SHARD, None),
        ("render_shard", SHARD | {"chunks": "x"}, "chunks: expected a valid list"),
    ],
)
def test_a_mistake_in_parameters_is_one_line(flow: str, parameters: dict[str, Any], mistake: str | None) -> None:
    """Right parameters have none."""
    import isthmus
    from flows.worker_run import find_mistake

    found = find_mistake(getattr(isthmus, flow), parameters)

    assert found is None if mistake is None else str(found).startswith(mistake)
    assert "\n" not in str(found)


def test_a_run_that_is_killed_each_time_does_not_start_for_ever() -> None:
    """A run is handed from worker to worker, but not more than fifty times."""
    from flows.worker_run import too_many_starts

    assert [too_many_starts(count) for count in (0, 1, 49)] == [None] * 3
    assert "has started 50 times" in str(too_many_starts(50))
