"""The command `isthmus build`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO, cast

import typer

from core.errors import SpecError, counted
from core.machine.loading import quick_loading
from flows.options import Json, SpecFile, Verbose, check_labels, read_spec_file
from flows.outcome import BuildResult, UnfinishedBuildError
from flows.terminal import errors, interruptible, quiet_libraries, warn_of_one_writer

if TYPE_CHECKING:
    from core.atlas.leases import Leases
    from core.atlas.plan import Plan
    from core.spec import AtlasSpec
    from core.store.store import Store
    from flows.ending import Ending

RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Render pairs again that have failed in earlier builds.")
]


@dataclass(frozen=True)
class _Command:
    """The command with its arguments."""

    atlas: AtlasSpec
    store: Store
    leases: Leases
    retry_failed: bool
    as_json: bool
    verbose: bool
    started: float
    only_images: bool = False


def build(spec: SpecFile, retry_failed: RetryFailed = False, as_json: Json = False, verbose: Verbose = False) -> None:
    """Render the pairs that have no record yet, and publish the atlas.

    To resume a build that was stopped, run the same command again: finished pairs are not rendered twice. Several
    builds of one atlas share the work.
    """
    run_build(spec, retry_failed=retry_failed, as_json=as_json, verbose=verbose)


def images(spec: SpecFile, as_json: Json = False, verbose: Verbose = False) -> None:
    """Compare the neurons of an atlas with photographs.

    The spec's key images says where they are. Their activations in the layers of the spec's neurons are kept in the
    atlas, and nothing is rendered. A build does the same after the strips. Run the command again to resume it.
    """
    run_build(spec, as_json=as_json, verbose=verbose, only_images=True)


def run_build(
    spec: Path, *, retry_failed: bool = False, as_json: bool, verbose: bool, only_images: bool = False
) -> None:
    """Run a build of a spec, or its part that reads photographs, and exit unless everything is done."""
    from core.atlas.leases import Leases
    from core.atlas.mixing import check_mixing
    from core.machine.leftovers import sweep_machine
    from core.machine.parallel import chunks_at_once
    from core.store.store import open_store, sweep

    started = time.monotonic()
    atlas = read_spec_file(spec)
    if only_images and atlas.images is None:
        raise SpecError(f"{spec}: expected a spec with the key images, which says where the photographs are")
    check_labels(atlas)
    store = open_store(atlas.uri, atlas.storage)
    check_mixing(atlas, store)  # the flow logs its warnings
    sweep(store)
    sweep_machine()
    leases = Leases(store, atlas.compute.renders_here, chunks_at_once(atlas.compute) or 1)
    command = _Command(atlas, store, leases, retry_failed, as_json, verbose, started, only_images)
    try:
        code = _run(command)
    finally:
        leases.end()
    if code:
        raise typer.Exit(code)


def _run(command: _Command) -> int:
    first = _plan(command)
    if command.only_images and not first.chunks:
        return _show_photographs(command, first)
    if _is_complete(command, first):
        return _tell(command, BuildResult.of(first, rendered=0), sys.stdout)
    warn_of_one_writer(command.store)
    quiet_libraries(command.verbose)
    if command.atlas.compute.engine == "local":  # another engine may lack something, and nothing may be left behind
        from flows import prefect_server
        from flows.engines import fork_server

        if first.chunks and command.leases.room():  # both load while Prefect is imported here
            with suppress(OSError):  # the first render process meets the same error
                fork_server.start()
            prefect_server.launch_temporary()
        with quick_loading():
            prefect_server.check()
        first = _wait_for_others(command, first)
        if _is_complete(command, first):
            return _tell(command, BuildResult.of(first, rendered=0), sys.stdout)
    return _build(command, first)


def _plan(command: _Command) -> Plan:
    from core.atlas.plan import make_plan
    from core.atlas.plan_files import keys_of_chunks
    from core.machine.parallel import chunks_at_once

    at_once = chunks_at_once(command.atlas.compute) or 1
    adopted = keys_of_chunks(command.store, command.leases.plans())
    return make_plan(command.atlas, command.store, at_once, adopted=adopted, only_images=command.only_images)


def _show_photographs(command: _Command, plan: Plan) -> int:
    """Make small pictures of photographs whose activations are all known, publish them, and return the exit code."""
    from core.atlas.manifest import MANIFEST_PATH
    from core.atlas.plan_files import write_plan
    from core.atlas.thumbnails import show_photographs
    from core.gallery.publish import publish

    assert plan.images is not None
    store = command.store
    write_plan(store, plan)  # another list may have the same parts
    show_photographs(store, command.atlas.storage, plan.images.evidence, plan.images.neurons)
    if store.exists(MANIFEST_PATH):
        publish(store, store.name)
    return _tell(command, BuildResult.of(plan, rendered=0), sys.stdout)


def _is_complete(command: _Command, plan: Plan) -> bool:
    """Return whether there is nothing to render and nothing to publish."""
    from core.gallery.publish import is_current

    if (
        plan.chunks
        or (plan.images and not plan.images.is_known)
        or (command.retry_failed and (plan.failures or plan.failed_blocks))
    ):
        return False
    return is_current(command.store, json.loads(command.atlas.to_json()), plan.recorded)


def _wait_for_others(command: _Command, plan: Plan) -> Plan:
    """Wait while older builds render all of a plan on the same processors and GPUs, and return a new plan."""
    leases, told = command.leases, False
    leases.keep()
    while chunks := plan.chunk_seconds:
        if leases.room() or len(leases.elsewhere(chunks)) < len(chunks):
            return plan
        if not (told or command.as_json):
            errors.print("isthmus: another process builds this atlas on this machine; waiting for it", markup=False)
        told = True
        leases.wait(chunks)
        plan = _plan(command)
    leases.wait_for_publishing()
    return plan


def _build(command: _Command, first: Plan) -> int:
    """Run the flow, tell its outcome, and return the exit code."""
    from flows.progress import Failures, progress_of_build

    atlas, failures = command.atlas, Failures()
    # Libraries such as Ray print to standard output, which must have the result of the command only.
    with (
        progress_of_build(command.store, first, failures, show=not command.as_json),
        interruptible() as stopped,
        redirect_stdout(sys.stderr),
    ):
        with quick_loading():
            from flows.prefect_server import start_unless_configured

            wait_for_server = start_unless_configured()
            from flows.build import first_strips, largest_round
            from flows.ending import Ending
            from flows.run_log import shown_on_terminal
            from flows.session import open_session

        ending = Ending(lambda result, output: _tell(command, result, output), stopped)
        with (
            shown_on_terminal(atlas.name, show=not command.verbose),
            open_session(atlas, command.leases, failures.chunk_finished, ending.build_ended) as session,
        ):
            if command.leases.room():
                # The render processes load and compile while the server starts.
                session.engine.begin(largest_round(first), first_strips(first, atlas))
            wait_for_server()
            try:
                result = _flow_run(command, ending)
            except UnfinishedBuildError as unfinished:
                result = unfinished.result
            except Exception:
                if ending.result is None:
                    raise
                ending.leave()
                raise
    return ending.tell(result)


def _flow_run(command: _Command, ending: Ending) -> BuildResult:
    """Run the flow; if the temporary server was killed before it had the flow run, start another one and run it again.

    Raises:
        UnfinishedBuildError: if some pairs could not be rendered.
        SpecError: if the server cannot be reached.
    """
    from flows.build_atlas import build_atlas
    from flows.prefect_server import replace_killed, server_errors_in_one_line

    def run() -> BuildResult:
        with server_errors_in_one_line():
            return cast("BuildResult", build_atlas(command.atlas, command.retry_failed, command.only_images))

    try:
        return run()
    except SpecError:
        if ending.result is not None or not replace_killed():
            raise
        return run()


def _tell(command: _Command, result: BuildResult, output: TextIO) -> int:
    """Print the outcome of a build and return the exit code."""
    from core.atlas.manifest import PAGE_PATH

    store = command.store
    page = store.location(PAGE_PATH) if store.exists(PAGE_PATH) else None
    if command.as_json:
        seconds = round(time.monotonic() - command.started, 1)
        print(json.dumps({**asdict(result), "seconds": seconds, "page": page}), file=output)
    else:
        for line in _lines(command, result, page):
            print(line, file=output)
    return 0 if result.is_whole else 1


def _lines(command: _Command, result: BuildResult, page: str | None) -> Iterator[str]:
    if result.pairs or not (result.blocks or result.images):
        complete = not result.rendered and not result.missing
        rendered = "nothing to render" if complete else f"{result.rendered} rendered"
        yield (
            f"{command.atlas.uri}: {rendered}; {result.done} of {counted(result.pairs, 'pair')} done, "
            f"{result.failed} failed, {result.missing} missing"
        )
    if result.blocks:
        missing = result.blocks - result.blocks_done - result.blocks_failed
        rendered = f"{result.blocks_rendered} rendered" if missing or result.blocks_rendered else "nothing to render"
        yield (
            f"{command.atlas.uri}, land: {rendered}; {result.blocks_done} of {counted(result.blocks, 'block')} done, "
            f"{result.blocks_failed} failed, {missing} missing"
        )
    if result.images:
        skipped = sum(result.images_skipped.values())
        yield (
            f"{command.atlas.uri}, photographs: {result.images_read:,} of {counted(result.images, 'file')} read, "
            f"{skipped:,} left out, {result.images - result.images_read:,} missing"
        )
        yield from (f"left out: {count:,}: {reason}" for reason, count in result.images_skipped.items())
    for failure in result.failures:
        yield f"failed: {failure.pair}: {failure.reason}"
    if (more := result.failed + result.blocks_failed - len(result.failures)) > 0:
        yield f"and {more} more, see the gallery, or the records in {command.store}/records"
    if page:
        yield f"Open {page}"
