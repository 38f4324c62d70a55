"""The log of a build, and artifacts on Prefect's pages with its progress, a summary, and some pictures."""

from __future__ import annotations

import base64
import re
import time
from collections import deque
from typing import cast
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import (
    create_image_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from core.atlas.manifest import PAGE_PATH
from core.atlas.plan import Plan
from core.errors import StoreError, counted
from core.pictures import sheets
from core.rendering.chunk import ChunkResult
from core.spec import AtlasSpec
from core.store.store import open_store
from flows.labels import gallery_link, tag_run
from flows.outcome import BuildResult
from flows.run_log import NOT_ON_TERMINAL
from flows.telling import Teller

_UPDATE_SECONDS = 3.0
_TELLING_SECONDS = 5.0  # for the last artifacts; after that, a slow server keeps the build from ending
_SHOWN_STRIPS = 6
_POSTER_WIDTH_PX = 768


class Report:
    """The log of one run of a build, and its artifacts, which a thread shows on Prefect's pages.

    Args:
        plan: the run's first plan, with everything that it has to render.
    """

    def __init__(self, spec: AtlasSpec, plan: Plan) -> None:
        self._spec = spec
        self._unrecorded = plan.unrecorded
        self._rendered = {"pairs": 0, "portraits": 0, "blocks": 0, "images": 0}
        self._failed = 0
        self._samples: deque[str] = deque(maxlen=_SHOWN_STRIPS)
        self._pair_seconds = 0.0
        self._started = self._updated = time.monotonic()
        self._log = get_run_logger()
        self._bar: UUID | None = None
        self._teller = Teller()
        self._teller.tell("tags", self._tag)
        if self._unrecorded:
            self._teller.tell("progress", self._show_progress)

    def chunk_finished(self, result: ChunkResult) -> None:
        """Log a finished chunk and its failures, and count it. The progress bar is updated every 3 s at most."""
        self._rendered[result.what] += result.done + result.failed
        self._failed += result.failed
        self._pair_seconds += result.seconds
        self._samples.extend(result.samples)
        for failure in result.failures:
            self._log.warning("failed: %s", failure, extra=NOT_ON_TERMINAL)
        self._log.info("%s (%d of %d)", result.words, sum(self._rendered.values()), self._unrecorded)
        if time.monotonic() - self._updated > _UPDATE_SECONDS:
            self._updated = time.monotonic()
            self._teller.tell("progress", self._show_progress)

    def finish(self, result: BuildResult) -> None:
        """Show the atlas's numbers of pairs, its failures, and some strips of this run."""
        summary = (
            f"{self._spec.name}: {counted(result.done, 'pair')} done, {result.failed} failed, {result.missing} missing"
        )
        minutes = (time.monotonic() - self._started) / 60
        self._log.info(summary)
        if self._unrecorded:
            self._teller.tell("progress", self._show_progress)
        self._teller.tell("summary", lambda: self._show_summary(result, summary, minutes))
        if self._samples:
            self._teller.tell("strips", self._show_strips)
        self._teller.wait(_TELLING_SECONDS)

    def _tag(self) -> None:
        with get_client(sync_client=True) as client:
            tag_run(client, flow_run.id, self._spec)

    def _show_progress(self) -> None:
        """Create the progress bar, or update it."""
        percent = min(100.0, 100 * sum(self._rendered.values()) / self._unrecorded)
        failed = f", {self._failed} failed" if self._failed else ""
        description = f"{self._spec.name}: {sum(self._rendered.values())} of {self._unrecorded}{failed}"
        if self._bar is None:
            bar = create_progress_artifact(percent, key=self._key("progress"), description=description)
            self._bar = cast(UUID, bar)
        else:
            update_progress_artifact(self._bar, percent, description=description)

    def _show_summary(self, result: BuildResult, summary: str, minutes: float) -> None:
        store = open_store(self._spec.uri, self._spec.storage)
        page = store.location(PAGE_PATH) if result.is_something else "nothing is published yet"
        portraits, blocks, images = (self._rendered[what] for what in ("portraits", "blocks", "images"))
        more = result.failed - len(result.failures)
        rows = [
            ("done", str(result.done)),
            ("failed", str(result.failed)),
            ("missing", str(result.missing)),
            ("rendered in this run", str(result.rendered)),
            *([("portraits in this run", str(portraits))] if portraits else []),
            *([("blocks of the land in this run", str(blocks))] if blocks else []),
            *([("photographs read in this run", str(images))] if images else []),
            *((f"left out: {reason}", str(count)) for reason, count in result.images_skipped.items()),
            ("minutes of this run", f"{minutes:.1f}"),
            ("seconds of rendering", f"{self._pair_seconds:.0f}"),
            ("gallery", page),
            *(("failed pair", f"{failure.pair}: {failure.reason}") for failure in result.failures),
            *([("failed pairs", f"{more} more, see the gallery")] if more > 0 else []),
        ]
        table = [{"what": what, "value": value} for what, value in rows]
        link = f"\n\n[gallery]({page})" if page.startswith("http") else ""
        create_table_artifact(table, key=self._key("summary"), description=summary + link)
        if result.is_something:
            gallery_link(self._key("gallery"), self._spec.name, page)

    def _show_strips(self) -> None:
        store = open_store(self._spec.uri, self._spec.storage)
        try:
            poster = sheets.stack(list(store.read_many(list(self._samples))), _POSTER_WIDTH_PX)
        except StoreError as error:
            self._log.warning("the summary has no picture of strips: %s", error)
            return
        picture = f"data:image/webp;base64,{base64.b64encode(poster).decode()}"
        description = f"Some strips of {self._spec.name}"
        create_image_artifact(picture, key=self._key("strips"), description=description)

    def _key(self, kind: str) -> str:
        """Return the key of an artifact. Prefect allows lower-case letters, digits and dashes."""
        return f"{re.sub('[^a-z0-9]+', '-', self._spec.name.lower()).strip('-')}-{kind}"
