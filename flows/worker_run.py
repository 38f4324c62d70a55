"""Flow runs on workers: a mistake or an error becomes a failed state of one line, and a stop hands the run on."""

from __future__ import annotations

import inspect
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, NoReturn, ParamSpec, TypeVar, get_type_hints
from uuid import UUID

from prefect import Flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas import OrchestrationResult
from prefect.client.schemas.objects import State
from prefect.exceptions import Abort, ParameterTypeError, TerminationSignal
from prefect.logging.loggers import disable_logger, flow_run_logger
from prefect.runtime import deployment, flow_run
from prefect.states import AwaitingRetry, Failed
from pydantic_core import PydanticSerializationError

from core.errors import IsthmusError, SpecError, one_line
from core.spec_file import parse_spec

_RUN = "PREFECT__FLOW_RUN_ID"
"""Environment variable that a worker sets for the process of a run."""
_MOST_STARTS = 50  # machines that are taken away every hour end a build of two days
HANDED_ON = "its worker was stopped; another worker resumes the run"

_P = ParamSpec("_P")
_R = TypeVar("_R")


def refuse_mistakes(flow: Flow[..., Any]) -> None:
    """Check the parameters of the flow run of this process, if it has one that is about to begin.

    Prefect's server checks parameters too, but lets unknown ones pass, and knows only what the schema says. Prefect
    itself reports a mistake in several lines and with tracebacks, or as a crashed process.

    Raises:
        Abort: if there is a mistake. The run has failed, and its state and its log have the mistake in one line.
    """
    if _RUN not in os.environ:
        return
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(os.environ[_RUN]))
        if run.state is None or not run.state.is_pending():  # only a hook of the run is called
            return
        mistake = find_mistake(flow, run.parameters) or too_many_starts(run.run_count)
        if mistake is None:
            return
        flow_run_logger(run, flow).error(mistake)
        _end(client, run.id, Failed(message=mistake))


def find_mistake(flow: Flow[..., Any], parameters: Mapping[str, Any]) -> str | None:
    """Return the first mistake in the parameters of a flow, in one line, or None."""
    known = flow.parameters.properties
    for name in sorted(parameters.keys() - known):
        return f"{name}: unknown parameter of {flow.name}; remove it (known: {', '.join(known)})"
    for name in flow.parameters.required:
        if name not in parameters:
            return f"{name}: missing; {flow.name} requires this parameter"
    try:
        if "spec" in parameters:
            parse_spec(parameters["spec"], "spec")
        with disable_logger("prefect.flows"):  # it tells all parameters, which may have a password
            flow.validate_parameters(dict(parameters))
    except SpecError as error:
        return str(error)
    except ParameterTypeError as error:
        first = str(error).split("\n - ")[1]
        return one_line(ValueError(first.replace("Input should be", "expected")))
    return None


def too_many_starts(count: int) -> str | None:
    """Return why a run should not start again, or None: one whose process is killed each time would start for ever."""
    if count < _MOST_STARTS:
        return None
    return f"this run has started {count} times and was stopped or killed each time; find out why, and start a new run"


def on_worker(function: Callable[_P, _R]) -> Callable[_P, _R | State[Any]]:
    """Return the function of a flow with another end for runs on workers.

    An error that a person can fix becomes a failed state with its message. If the run's process is asked to stop, the
    run is scheduled again, and another worker resumes it. Elsewhere, as on the command line, nothing changes.
    """

    @wraps(function)
    def run(*arguments: _P.args, **named: _P.kwargs) -> _R | State[Any]:
        try:
            with _stoppable():
                result: _R | State[Any] = function(*arguments, **named)
        except IsthmusError as error:
            if deployment.id is None:
                raise
            result = Failed(message=str(error))
        except (TerminationSignal, PydanticSerializationError) as error:
            # While pydantic writes JSON, it turns the exception of the signal into its own.
            if not isinstance(error, TerminationSignal) and TerminationSignal.__name__ not in str(error):
                raise
            if deployment.id is not None:
                _hand_on()
            raise TerminationSignal(signal.SIGTERM) from None
        if deployment.id is None:
            return result
        if isinstance(result, State) and result.is_failed():
            with get_client(sync_client=True) as client:
                get_run_logger().error(result.message)
                _end(client, UUID(str(flow_run.id)), result)
        return result

    # Prefect resolves the names in annotations with the globals of this module, which has other names.
    run.__annotations__ = get_type_hints(function, include_extras=True)
    run.__signature__ = inspect.signature(function, eval_str=True)  # type: ignore[attr-defined]
    return run


@contextmanager
def _stoppable() -> Iterator[None]:
    """Admit SIGTERM, which may have been blocked since this process was started; afterwards it is as it was before.

    Before and after, Prefect starts and ends the run, and would be killed, or mark the run as crashed.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hand_on() -> None:
    """Schedule this flow run again and end its process, unless it is being cancelled.

    Raises:
        Abort: if the run is scheduled again.
    """
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(str(flow_run.id)))
        if run.state is not None and run.state.is_running():
            get_run_logger().warning(HANDED_ON)
            _end(client, run.id, AwaitingRetry(message=HANDED_ON))


def _end(client: SyncPrefectClient, run: UUID, state: State[Any]) -> NoReturn:
    """Give a flow run its state and end its process.

    Prefect itself logs a traceback for a flow run that fails, and marks one that is asked to stop as crashed.

    Raises:
        Abort: which ends the process with code 0.
    """
    answer: OrchestrationResult[Any] = client.set_flow_run_state(run, state)
    end = Abort(state.message)
    end.state = answer.state or state  # type: ignore[attr-defined]  # Prefect reads it
    raise end from None
