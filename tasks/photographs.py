"""Small pictures of photographs as a task: they are made when all activations are known."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from core.atlas.evidence import read_evidence
from core.atlas.thumbnails import show_photographs
from core.errors import SpecError, StoreError, TransientStoreError, counted
from core.neurons import Neuron
from core.spec import AtlasSpec
from core.store.store import open_store
from tasks.retries import RETRIES


@task(name="show-photographs", cache_policy=NO_CACHE, persist_result=False, **RETRIES)
def show_neurons(spec: AtlasSpec, neurons: Sequence[Neuron]) -> None:
    """Make the small pictures of the photographs that some neurons need, unless the spec forbids it.

    If the source cannot be read any more, a warning says so, and the atlas is published without these pictures.
    """
    log = get_run_logger()
    store = open_store(spec.uri, spec.storage)
    evidence = read_evidence(store)
    if evidence is None:
        return
    try:
        show_photographs(store, spec.storage, evidence, neurons)
    except TransientStoreError:
        raise
    except (SpecError, StoreError) as error:
        log.warning("photographs without small pictures: %s", error)
    log.info("compared %s with %s", counted(len(neurons), "neuron"), counted(evidence.count, "photograph"))
