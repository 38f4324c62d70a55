"""The state of an atlas, as `isthmus verify` tells it: damaged, finished or published, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from core.errors import IsthmusError, counted
from flows.terminal import quiet_libraries

if TYPE_CHECKING:
    from core.atlas.verify import Blocks, Images, Progress, Report
    from core.spec import AtlasSpec
    from core.store.store import Store

_GO_ON = "To go on: isthmus build with its spec"
State = Literal["damaged", "unfinished", "unpublished", "complete"]


@dataclass(frozen=True)
class Health:
    """The state of an atlas.

    Attributes:
        progress: numbers of the pairs of its spec; None if they cannot be told.
        unknown: why they cannot be told.
        removed: paths of the files that a repair has deleted.
        land: numbers of the blocks of its land; None without one.
        images: numbers of its photographs; None without any.
    """

    state: State
    progress: Progress | None
    unknown: str | None
    removed: tuple[str, ...]
    land: Blocks | None = None
    images: Images | None = None

    def facts(self) -> dict[str, Any]:
        """Return the facts with the names that --json uses."""
        progress = None if self.progress is None else self.progress._asdict()
        facts = {**asdict(self), "progress": progress}
        for name, part in (("land", self.land), ("images", self.images)):
            del facts[name]
            if part is not None:
                facts[name] = part._asdict()
        return facts


def check_health(store: Store, spec: AtlasSpec | None, report: Report, removed: tuple[str, ...]) -> Health:
    """Return the state of an atlas after its files were compared, and perhaps repaired.

    Args:
        spec: the spec of the atlas, if it was given; otherwise the stored one counts.
    """
    from core.atlas.verify import progress

    if not (report.intact or report.unpublished or removed):
        return Health("damaged", None, "damaged files come first", removed)
    quiet_libraries(verbose=False)
    try:
        found, land, images = progress(store, spec)
    except IsthmusError as error:
        state: State = "complete" if report.intact and not report.behind else "unpublished"
        return Health("unfinished" if removed or report.empty else state, None, str(error), removed)
    published = report.intact and not report.behind
    if found.missing or (land and land.missing) or (images and images.missing):
        return Health("unfinished", found, None, removed, land, images)
    return Health("complete" if published else "unpublished", found, None, removed, land, images)


def listed_files(report: Report, removed: tuple[str, ...]) -> Iterator[str]:
    """Yield a line for each file that is missing, damaged, extra or removed."""
    for kind in ("missing", "damaged", "extra"):
        if not (kind == "missing" and report.unpublished):
            yield from (f"{kind}: {path}" for path in getattr(report, kind))
    yield from (f"removed: {path}" for path in removed)


def summary(store: Store, report: Report, health: Health) -> Iterator[str]:
    """Yield the lines about the whole atlas, and what to do."""
    missing = 0 if report.unpublished else len(report.missing)
    counts = f"{missing} missing, {len(report.damaged)} damaged, {len(report.extra)} extra"
    yield f"{store}: {counted(report.checked, 'file')} checked, {counts}"
    if report.temporary:
        files = counted(report.temporary, "temporary file")
        yield f"{files} of killed processes, which the next build or publish deletes"
    if health.removed:
        yield f"removed {counted(len(health.removed), 'file')}; nothing is damaged now"
    progress = health.progress
    if health.state == "damaged":
        yield "To repair it: isthmus verify --repair, then isthmus build with its spec"
    elif health.state == "unfinished" and progress is None:
        yield f"unfinished: {'nothing is' if report.empty else 'the removed pairs are not'} rendered yet. {_GO_ON}"
    elif health.state == "unfinished" and progress is not None:
        recorded = progress.done + progress.failed
        blocks = health.land
        first = "" if recorded or (blocks and blocks.missing < blocks.blocks) else "nothing is rendered yet, "
        failed = f", {progress.failed} of them failed" if progress.failed else ""
        page = ", and no gallery is published" if report.unpublished and recorded else ""
        of_land = f", {blocks.done + blocks.failed} of {counted(blocks.blocks, 'block')} of the land" if blocks else ""
        pairs = f"{recorded} of {counted(progress.pairs, 'pair')}"
        images = health.images
        read = f", {images.images - images.missing} of {counted(images.images, 'photograph')}" if images else ""
        yield f"unfinished: {first}{pairs}{of_land}{read} have records{failed}{page}. {_GO_ON}"
    elif health.state == "unpublished":
        yield "not published: no gallery has all pairs with records. To publish: isthmus publish"
    if health.unknown and health.state != "damaged":
        yield f"It cannot be told here whether all pairs are rendered: {health.unknown}"
