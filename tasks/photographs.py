"""Small pictures of photographs as a task: they are made when all activations are known."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.atlas.evidence import read_evidence
from core.atlas.thumbnails import show_photographs
from core.errors import counted
from core.neurons import Neuron
from core.spec import AtlasSpec
from core.store.store import open_store
from tasks.retries import RETRIES


@task(name="show-photographs", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def show_neurons(spec: AtlasSpec, neurons: Sequence[Neuron]) -> None:
    """Make the small pictures of the photographs that some neurons need, unless the spec forbids it."""
    store = open_store(spec.uri, spec.storage)
    evidence = read_evidence(store)
    if evidence is None:
        return
    show_photographs(store, spec.storage, evidence, neurons)
    get_run_logger().info("compared %s with %s", counted(len(neurons), "neuron"), counted(evidence.count, "photograph"))
