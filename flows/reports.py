"""Artifacts of a build on Prefect's pages: its progress, a summary, and some pictures.

If the server does not answer, the artifacts are left out and the build continues.
"""

from __future__ import annotations

import base64
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run

from core.atlas.manifest import PAGE_PATH
from core.atlas.plan import Plan
from core.errors import StoreError
from core.pictures import sheets
from core.rendering.chunk import ChunkResult
from core.spec import AtlasSpec
from core.store.store import open_store
from flows.labels import gallery_link, tag_run

_UPDATE_SECONDS = 3.0
_LISTED_FAILURES = 20
_SHOWN_STRIPS = 6
_POSTER_WIDTH_PX = 768


class Report:
    """The artifacts of one run of a build.

    Args:
        plan: the run's first plan, with everything that it has to render.
    """

    def __init__(self, spec: AtlasSpec, plan: Plan) -> None:
        self._spec = spec
        self._unrecorded = plan.unrecorded
        self._rendered = {"pairs": 0, "portraits": 0}
        self._failures: list[str] = []
        self._samples: deque[str] = deque(maxlen=_SHOWN_STRIPS)
        self._pair_seconds = 0.0
        self._started = self._updated = time.monotonic()
        self._log = get_run_logger()
        self._bar: UUID | None = None
        with get_client(sync_client=True) as client:
            self._show(tag_run, client, flow_run.id, spec)
        if self._unrecorded:
            self._bar = self._show(create_progress_artifact, 0.0, key=self._key("progress"), description=spec.name)

    def chunk_finished(self, result: ChunkResult) -> None:
        """Log a finished chunk and count it. The progress bar is updated every 3 s at most."""
        self._rendered[result.what] += result.done + result.failed
        self._pair_seconds += result.seconds
        self._failures += result.failures[: _LISTED_FAILURES - len(self._failures)]
        self._samples.extend(result.samples)
        self._log.info("%s (%d of %d)", result.words, sum(self._rendered.values()), self._unrecorded)
        if time.monotonic() - self._updated > _UPDATE_SECONDS:
            self._update()

    def finish(self, done: int, failed: int, missing: int) -> None:
        """Show the atlas's numbers of pairs, its failures, and some strips of this run."""
        self._update()
        store = open_store(self._spec.uri, self._spec.storage)
        page = store.location(PAGE_PATH) if done or failed else "nothing is published yet"
        minutes = (time.monotonic() - self._started) / 60
        rows = [
            ("done", str(done)),
            ("failed", str(failed)),
            ("missing", str(missing)),
            ("rendered in this run", str(self._rendered["pairs"])),
            *([("portraits in this run", str(self._rendered["portraits"]))] if self._rendered["portraits"] else []),
            ("minutes of this run", f"{minutes:.1f}"),
            ("seconds of rendering", f"{self._pair_seconds:.0f}"),
            ("gallery", page),
            *(("failed pair", failure) for failure in self._failures),
        ]
        table = [{"what": what, "value": value} for what, value in rows]
        summary = f"{self._spec.name}: {done} pairs done, {failed} failed, {missing} missing"
        link = f"\n\n[gallery]({page})" if page.startswith("http") else ""
        self._show(create_table_artifact, table, key=self._key("summary"), description=summary + link)
        if done or failed:
            self._show(gallery_link, self._key("gallery"), self._spec.name, page)
        self._log.info(summary)
        if not self._samples:
            return
        try:
            poster = sheets.stack(list(store.read_many(list(self._samples))), _POSTER_WIDTH_PX)
        except StoreError as error:
            self._log.warning("the summary has no picture of strips: %s", error)
            return
        picture = f"data:image/webp;base64,{base64.b64encode(poster).decode()}"
        self._show(
            create_image_artifact, picture, key=self._key("strips"), description=f"Some strips of {self._spec.name}"
        )

    def _update(self) -> None:
        self._updated = time.monotonic()
        if self._bar is not None:
            percent = min(100.0, 100 * sum(self._rendered.values()) / self._unrecorded)
            self._show(update_progress_artifact, self._bar, percent, description=self._spec.name)

    def _key(self, kind: str) -> str:
        """Return the key of an artifact. Prefect allows lower-case letters, digits and dashes."""
        return f"{re.sub('[^a-z0-9]+', '-', self._spec.name.lower()).strip('-')}-{kind}"

    def _show(self, artifact: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        try:
            return artifact(*arguments, **named)
        except (httpx.HTTPError, PrefectException, OSError) as error:
            self._log.warning("an artifact is not shown on Prefect's pages: %s", error)
            return None
