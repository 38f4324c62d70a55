"""The engine `local`: a pool of processes on this machine, one per core or per GPU."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children
from threading import Event, Thread

from prefect import get_run_logger
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner

from flows.rounds import Finished, Round, api_url, render_in_window
from tasks.render import render_one_chunk


def render_locally(round_: Round, processes: int, finished: Finished) -> None:
    """Render the chunks of a round in a pool of fresh processes; ends early if one of them dies.

    Raises:
        IsthmusError: if a chunk met something that a person must mend.
    """
    left = Event()
    try:
        with (
            temporary_settings({PREFECT_API_URL: api_url()}),
            ProcessPoolTaskRunner(max_workers=processes) as pool,
        ):
            _never_wait_for_messages(pool)
            try:
                render_in_window(
                    lambda order: pool.submit(render_one_chunk, dict(order)), round_, 2 * processes, finished
                )
            except BaseException as stopped:
                Thread(target=_kill_processes, args=(left,), name="kill-processes", daemon=True).start()
                if not isinstance(stopped, BrokenProcessPool):
                    raise
                get_run_logger().warning("a render process died; going on with a fresh pool and what is still missing")
    finally:
        left.set()


def _kill_processes(left: Event) -> None:
    """Kill the processes of a pool until it has been left. Nothing is lost by that.

    Leaving waits for them: long for what they have begun, and for ever for one that was being started while another
    died, which Python then neither ends nor forgets. Such a one may come late, so once is not enough.
    """
    while not left.wait(0.1):
        for process in active_children():
            process.kill()


def _never_wait_for_messages(pool: ProcessPoolTaskRunner) -> None:
    """Do not let this process wait, when it ends, until its messages to the pool's own queue have been written.

    A render process that was killed while it wrote to that queue holds the queue's lock for ever. The queue carries
    log lines only.
    """
    messages = getattr(pool, "_subprocess_message_queue", None)
    if messages is not None:
        messages.cancel_join_thread()
