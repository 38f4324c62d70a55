"""Tags of the flow runs of an atlas, and the link to its gallery, on Prefect's pages.

Nothing here uses Prefect's context manager `tags`, because its tags are also those of task runs. A tag of a task run
may have a concurrency limit, so before each chunk Prefect's client would ask the server for a slot.
"""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from prefect.artifacts import create_link_artifact
from prefect.client.orchestration import SyncPrefectClient

from core.spec import AtlasSpec


def run_tags(spec: AtlasSpec) -> tuple[str, ...]:
    """Return the tags of the flow runs of an atlas: `atlas:NAME`, `model:NAME` and `store:OUTPUT`.

    OUTPUT is the full path of the directory, or the address of the bucket, which has no secrets in a spec.
    """
    output = spec.output
    store = output.rstrip("/") if "://" in output else str(Path(output).expanduser().resolve())
    return f"atlas:{spec.name}", f"model:{spec.model.name}", f"store:{store}"


def tag_run(client: SyncPrefectClient, flow_run_id: UUID | str, spec: AtlasSpec) -> None:
    """Add the tags of an atlas to a flow run; other tags stay."""
    run_id = UUID(str(flow_run_id))
    tags = client.read_flow_run(run_id).tags
    if missing := set(run_tags(spec)).difference(tags):
        client.update_flow_run(run_id, tags=[*tags, *sorted(missing)])


def gallery_link(key: str, name: str, page: str) -> UUID:
    """Create a link artifact to a gallery, for the flow run of the current context, and return its id.

    Args:
        key: key of the artifact.
        name: name of the atlas.
        page: address of the page, or its path.
    """
    link = page if "://" in page else Path(page).absolute().as_uri()
    return create_link_artifact(link, link_text=f"Gallery of {name}", key=key, description=f"Gallery of {name}")  # type: ignore[return-value]
