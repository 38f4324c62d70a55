"""The engine `ray`: tasks on a Ray cluster, or on a Ray that is started on this machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.errors import SpecError, one_line
from core.machine import parallel
from core.machine.device import VERBOSE, gpus
from core.rendering.renderers import FirstStrips
from core.spec import Compute
from flows.engines.engine import Failed, Finished, Round, api_url, render_in_window
from flows.prefect_server import configured_server
from tasks.render import render_one_chunk

_STARTS = 4  # tries to start a Ray on this machine
_QUIET = {"logging_level": "error"}  # ray.init sets the level of its messages again


@dataclass(frozen=True)
class _Connection:
    """A running Ray that this process is connected to.

    Attributes:
        runner: Prefect's RayTaskRunner, whose context has been entered.
    """

    runner: Any
    gpus: int
    chunks_at_once: int


class RayEngine:
    """One chunk per GPU of a Ray cluster, or one per core of a cluster without GPUs.

    If a process dies, Ray starts another process and gives it the same chunk. The connection, or the Ray on this
    machine, is kept from round to round. It is replaced if a chunk was left unfinished.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self._connection: _Connection | None = None
        self._at_once = parallel.chunks_at_once(compute)

    @property
    def chunks_at_once(self) -> int:
        """The spec's processes. If the spec leaves them out, this connects to the cluster and counts its GPUs or cores.

        Raises:
            SpecError: if the cluster cannot be reached.
        """
        if self._at_once is None:
            self._at_once = self._connected().chunks_at_once
        return self._at_once

    def check(self) -> None:
        """Check that Ray is installed, and that a cluster elsewhere can reach the Prefect server.

        Raises:
            SpecError: if not.
        """
        if find_spec("prefect_ray") is None:
            raise SpecError("compute.engine: ray needs the packages of the extra 'ray'; install isthmus[ray]")
        if self._compute.ray_address and not configured_server():
            raise SpecError(
                "compute.ray_address: expected a Prefect server that the cluster can reach; set PREFECT_API_URL"
            )
        self._connected()

    def begin(self, chunks: int, first: Iterable[FirstStrips | None] = ()) -> None:
        """Do nothing: Ray starts with the first round."""

    def render(self, round_: Round, finished: Finished, failed: Failed) -> None:
        """Render the chunks of a round as tasks of Ray.

        Raises:
            SpecError: if Ray is not installed or the cluster cannot be reached.
            IsthmusError: if a chunk failed for a reason that a person has to fix.
        """
        if not round_.chunks:
            return
        ray = self._connected()
        from prefect_ray.context import remote_options

        # Without max_calls=0 Ray would start a new process, which loads everything again, for every task with a GPU.
        options = {"num_gpus" if ray.gpus else "num_cpus": 1, "max_calls": 0, "max_retries": 3}
        with self._reaching(), temporary_settings({PREFECT_API_URL: api_url()}), remote_options(**options):
            left = render_in_window(
                lambda parameters: ray.runner.submit(render_one_chunk, dict(parameters)),
                round_,
                2 * ray.chunks_at_once,
                finished,
                failed,
            )
        # A fault may persist in a process, and the processes of the next stage need all of the GPUs' memory.
        if left or ray.gpus:
            self.close()

    def close(self, *, kill: bool = False) -> None:
        """Stop the Ray on this machine, or disconnect from the cluster, which ends the processes of this build."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.runner.__exit__(None, None, None)
        except ConnectionError:  # the cluster is gone; after an error, that error is the one to report
            if not kill:
                raise

    def _connected(self) -> _Connection:
        """Return the connection, after connecting or starting Ray if there is none."""
        if self._connection is None:
            with self._reaching():
                self._connection = _connect(self._compute)
        return self._connection

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError as error:
            raise SpecError(f"compute.ray_address: no Ray at {self._compute.ray_address}, {error}") from None


def _connect(compute: Compute) -> _Connection:
    address = compute.ray_address
    if not address:  # under `uv run` Ray would copy the current folder, and install everything again
        os.environ["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] = "0"
    import ray
    from prefect_ray import RayTaskRunner

    if not os.environ.get(VERBOSE):
        logging.getLogger("ray").setLevel(logging.ERROR)

    def enter() -> Any:
        # Without "local" Ray would connect to a cluster that runs on this machine, and there it refuses num_cpus.
        return RayTaskRunner(address or "local", _QUIET | ({} if address else _on_this_machine(compute))).__enter__()

    try:
        runner = enter() if address else _try_again(enter)
    except Exception as error:  # Ray raises errors of many types
        if address and isinstance(error, ConnectionError):
            raise
        if address:
            raise SpecError(f"compute.ray_address: cannot use the Ray at {address}, {one_line(error)}") from None
        raise SpecError(
            f"compute.engine: Ray cannot start on this machine, {one_line(error)}; if the cause is its folder, set "
            "RAY_TMPDIR to an existing folder with a short path"
        ) from None
    try:
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 0)), int(resources.get("GPU", 0))
        at_once = compute.processes or gpus or max(1, cpus)
        get_run_logger().info("Ray has %d CPUs and %d GPUs; %d chunks at once", cpus, gpus, at_once)
    except BaseException:  # also an interrupt
        runner.__exit__(None, None, None)
        raise
    return _Connection(runner, gpus, at_once)


def _try_again(start: Callable[[], Any]) -> Any:
    """Start Ray, and start it again if it does not start in time, as on a machine that is busy with other work.

    Ray gives its own processes 15 to 30 seconds, which cannot be changed. Each start is faster than the one before,
    because more of the files are in memory.
    """
    tries = 0
    while True:
        tries += 1
        try:
            return start()
        except Exception as error:
            _kill_what_was_started()
            if tries == _STARTS or "timed out" not in str(error).lower():
                raise


def _kill_what_was_started() -> None:
    """Kill the processes of a Ray that did not start; Ray leaves them running until this process ends."""
    for listing in Path("/proc/self/task").glob("*/children"):
        for child in listing.read_text().split():
            with suppress(OSError):  # it has just ended
                command = Path(f"/proc/{child}/cmdline").read_bytes()
                if b"/ray/" in command and b"session_" in command:
                    os.kill(int(child), signal.SIGKILL)


def _on_this_machine(compute: Compute) -> dict[str, Any]:
    """Return the arguments of ray.init for a Ray on this machine."""
    return {
        "num_cpus": parallel.process_count(compute.processes),
        "num_gpus": len(gpus()),
        "_skip_env_hook": True,  # RAY_RUNTIME_ENV_HOOK: the processes must find what is installed here
        # Ray puts the current folder first on the path of its processes; it may have a tasks.py of another project.
        "_system_config": {"preload_python_modules": ["core", "tasks", "flows"]},
        "include_dashboard": False,
        "log_to_driver": False,
    }
