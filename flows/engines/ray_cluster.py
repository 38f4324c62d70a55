"""The engine `ray`: tasks on a Ray cluster, or on a Ray that is started on this machine."""

from __future__ import annotations

import logging
import os
from importlib.util import find_spec
from typing import Any

from prefect import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings

from core.errors import SpecError
from core.machine.device import VERBOSE
from core.machine.parallel import process_count
from core.spec import Compute
from flows.engines.engine import Finished, Round, api_url, render_in_window
from flows.prefect_server import configured_server
from tasks.render import render_one_chunk


def render_on_ray(round_: Round, compute: Compute, finished: Finished) -> None:
    """Render the chunks of a round as tasks of Ray, one per GPU of the cluster, or one per core if it has none.

    A process that dies costs the chunk that it had; Ray starts another and gives it the same chunk again.

    Raises:
        IsthmusError: if Ray is missing here or there, or a chunk met something that a person must mend.
    """
    if find_spec("prefect_ray") is None:
        raise SpecError("compute.engine: ray needs the packages of the extra 'ray'; install isthmus[ray]")
    import ray
    from prefect_ray import RayTaskRunner
    from prefect_ray.context import remote_options

    if not os.environ.get(VERBOSE):
        logging.getLogger("ray").setLevel(logging.ERROR)
    address = compute.ray_address
    if address and not configured_server():
        raise SpecError(
            "compute.ray_address: expected a Prefect server that the cluster can reach; set PREFECT_API_URL"
        )
    try:
        runner = RayTaskRunner(address, {} if address else _on_this_machine(compute))
        with temporary_settings({PREFECT_API_URL: api_url()}), runner:
            resources = ray.cluster_resources()
            gpus = int(resources.get("GPU", 0))
            at_once = compute.processes or gpus or int(resources["CPU"])
            get_run_logger().info("Ray has %d CPUs and %d GPUs; %d chunks at once", resources["CPU"], gpus, at_once)
            # Without max_calls=0 Ray would start a process, and load everything anew, for every task with a GPU.
            with remote_options(**{"num_gpus" if gpus else "num_cpus": 1}, max_calls=0, max_retries=3):
                render_in_window(
                    lambda order: runner.submit(render_one_chunk, dict(order)), round_, 2 * at_once, finished
                )
    except ConnectionError as error:
        raise SpecError(f"compute.ray_address: no Ray at {address}, {error}") from None


def _on_this_machine(compute: Compute) -> dict[str, Any]:
    return {
        "num_cpus": process_count(compute.processes),
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "error",
    }
