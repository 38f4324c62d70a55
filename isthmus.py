"""The way into Isthmus, under a name of its own: the command line and the flows of deployments.

The packages of Isthmus are called `core`, `tasks` and `flows`, and other projects have folders or modules of these
names too. Python prefers those in the current folder and in PYTHONPATH to installed packages. So this module makes sure
that the packages beside it are found before it imports any of them.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from typing import Any

_PACKAGES = ("core", "tasks", "flows")
_FLOWS = ("build_atlas", "render_shard")
_FOLDER = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120, a str without the time that pathlib takes to load


def main() -> None:
    """Run the command line."""
    if sys.getfilesystemencoding() == "ascii":
        _use_utf8()
    try:
        find_our_packages()
    except ImportError as error:
        print(f"isthmus: {error}", file=sys.stderr)
        if "--json" in sys.argv:
            problem, _, what_to_do = str(error).rpartition("; ")
            print(json.dumps({"error": str(error), "field": None, "what_to_do": what_to_do if problem else None}))
        sys.exit(2)
    from flows.cli import main as run

    run()


def find_our_packages() -> None:
    """Make imports find the packages beside this module, in this process and in the processes that it starts.

    If they are found anyway, nothing changes. Otherwise their folder becomes the first on sys.path and PYTHONPATH.

    Raises:
        ImportError: if a module of another project with the name of a package has been imported already.
    """
    if all(_is_ours(_found(name)) for name in _PACKAGES):
        return
    for name in _PACKAGES:
        if name in sys.modules and not _is_ours(_found(name)):
            raise ImportError(
                f"expected the package {name!r} in {_FOLDER}, but this process has already imported another {name!r}, "
                f"{_place(sys.modules[name])}; run Isthmus in a process of its own"
            )
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([_FOLDER, others] if others else [_FOLDER])
    sys.path.insert(0, _FOLDER)


def _use_utf8() -> None:
    """Start this process anew in Python's UTF-8 mode, in which file names may have any character.

    This is for locales such as C, if the environment forbids Python to choose that mode itself.
    """
    if os.environ.get("PYTHONUTF8") != "1":  # otherwise an option of Python has forbidden it again
        os.environ.setdefault("PYTHONIOENCODING", "ascii:backslashreplace")  # the terminal has ASCII only
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, sys.orig_argv)


def __getattr__(name: str) -> Any:
    """Return a flow, so that a deployment can name `isthmus.build_atlas` as its entrypoint.

    In the process of a flow run on a worker, mistakes in the run's parameters end it.
    """
    if name not in _FLOWS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    find_our_packages()
    flow = getattr(importlib.import_module(f"flows.{name}"), name)
    importlib.import_module("flows.worker_run").refuse_mistakes(flow)
    return flow


def _found(name: str) -> ModuleSpec | None:
    """Return where an import finds a top-level module, or has found it, without importing it."""
    try:
        return find_spec(name)
    except ValueError:  # a module in sys.modules that no import has made
        return None


def _is_ours(spec: ModuleSpec | None) -> bool:
    """Return whether an import finds a package beside this module. A folder without __init__.py has no origin."""
    if spec is None or spec.origin is None:
        return False
    return os.path.realpath(spec.origin) == os.path.join(_FOLDER, spec.name, "__init__.py")  # noqa: PTH118


def _place(module: Any) -> str:
    return str(getattr(module, "__file__", None) or "which has no file")


if __name__ == "__main__":
    main()
