"""The source files: which modules may import which, which load quickly, and what no file may contain."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("core", "tasks", "flows")
SOURCES = sorted(path.relative_to(ROOT).as_posix() for house in HOUSES for path in (ROOT / house).rglob("*.py"))
WITH_TENSORFLOW = ("core/method/", "core/models/operations/", "core/bench/")
"""The folders whose modules may import TensorFlow at import time."""
FLOORS = (
    ("core",),
    ("core.machine",),
    ("core.store",),
    ("core.pictures",),
    ("core.models", "core.photographs"),
    ("core.spec_file",),
    ("core.method", "core.atlas"),
    ("core.rendering",),
    ("core.gallery",),
    ("core.bench",),
    ("tasks",),
    ("flows",),
)
"""Rooms from the lowest floor up. A room imports from its own modules and from lower floors only."""
ROOMS = {room for rooms in FLOORS for room in rooms}


@cache
def imports_of(path: str) -> frozenset[str]:
    """Return the full name of every module that a source file imports anywhere."""
    return frozenset(_imported(_nodes(path), path))


@cache
def imports_at_once(path: str) -> frozenset[str]:
    """Return the modules that a source file imports at import time."""
    return frozenset(_imported(_executed(_parsed(path).body), path))


@cache
def _parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def _nodes(path: str) -> Sequence[ast.AST]:
    """Return the imports, functions and methods of a source file, in a list because walking a file takes long."""
    wanted = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in ast.walk(_parsed(path)) if isinstance(node, wanted)]


def _executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the statements that run at import time, so not those in functions or for type checkers only."""
    for statement in body:
        yield statement
        for name, inner in ast.iter_fields(statement):
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if isinstance(statement, ast.If) and name == "body" and ast.unparse(statement.test) == "TYPE_CHECKING":
                continue
            if isinstance(inner, list):
                yield from _executed([part for part in inner if isinstance(part, ast.stmt)])
                for handler in inner:
                    if isinstance(handler, ast.ExceptHandler):
                        yield from _executed(handler.body)


def _imported(nodes: Iterable[ast.AST], path: str) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: imports are absolute here"
            yield node.module or ""


def packages(modules: Iterable[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_sources_and_their_imports_are_found() -> None:
    """There are sources to check, and imports are found at the top of a module and in functions."""
    assert len(SOURCES) > 20
    assert "core.atlas.plan" in imports_of("tasks/plan.py")
    assert "tensorflow" in imports_of("core/models/model.py")
    assert "tensorflow" in imports_of("core/machine/device.py")
    assert "tensorflow" not in imports_at_once("core/models/model.py") | imports_at_once("core/machine/device.py")
    assert "prefect" in imports_at_once("tasks/render.py")


def test_imports_point_from_flows_to_tasks_to_core() -> None:
    """No module of core imports a task, a flow or Prefect, and no task imports a flow."""
    forbidden = {
        "core": {"tasks", "flows", "prefect", "typer", "rich"},
        "tasks": {"flows", "typer", "rich"},
        "flows": set[str](),
    }
    found = {path: packages(imports_of(path)) & forbidden[path.partition("/")[0]] for path in SOURCES}

    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def room_of(module: str) -> str:
    """Return the room of a module: its folder, or `core` for a module of core that is in no room."""
    package = module if module in ROOMS else module.rpartition(".")[0]
    while package not in ROOMS:
        package = package.rpartition(".")[0]
    return package


@cache
def imports_of_our_own() -> dict[str, set[str]]:
    """Return module -> modules of this project that it imports anywhere, also in functions or for type checkers."""
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in SOURCES}
    found: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = set(imported_names(path))
        found[module] = {name for name in names if name in modules} | {
            name.rpartition(".")[0] for name in names if name not in modules and name.rpartition(".")[0] in modules
        }
        found[module].discard(module)
    return found


def imported_names(path: str) -> Iterator[str]:
    """Yield the full names of the imports of a source file: modules, and `module.name` for a name from a module."""
    for node in _nodes(path):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_no_room_imports_from_a_higher_floor() -> None:
    """A room imports only from lower floors, so not from another room on its own floor either."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    arrows = {(module, used) for module, uses in imports_of_our_own().items() for used in uses}
    climbing = {
        f"{module} imports {used}"
        for module, used in arrows
        if room_of(module) != room_of(used) and floor[room_of(used)] >= floor[room_of(module)]
    }

    assert len(arrows) > 100
    assert climbing == set()


def test_no_modules_import_one_another_in_a_circle() -> None:
    """The modules can be sorted so that each comes after all modules that it imports."""
    rest = imports_of_our_own()
    while free := {module for module, uses in rest.items() if not uses & rest.keys()}:
        rest = {module: uses for module, uses in rest.items() if module not in free}

    assert rest == {}


def test_only_some_folders_import_tensorflow_at_import_time() -> None:
    """Loading TensorFlow takes seconds, so all other modules import it only when they need it."""
    importing = [path for path in SOURCES if "tensorflow" in packages(imports_at_once(path))]

    assert [path for path in importing if not path.startswith(WITH_TENSORFLOW)] == []


def test_only_the_store_imports_boto3() -> None:
    """Only modules of the store's room import boto3."""
    importing = [path for path in SOURCES if packages(imports_of(path)) & {"boto3", "botocore"}]

    assert [path for path in importing if not path.startswith("core/store/")] == []


def test_light_modules_load_no_heavy_library() -> None:
    """Importing all modules that may not be heavy, one after the other, loads no TensorFlow, Prefect or boto3."""
    may_be_heavy = (*WITH_TENSORFLOW, "core/store/s3.py", "core/store/s3_client.py")
    light = [path for path in SOURCES if path.startswith("core/") and not path.startswith(may_be_heavy)]
    modules = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in light]
    modules += ["tasks", "flows", "flows.cli"]
    unwanted = ["tensorflow", "prefect", "boto3"]
    script = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        f"    print(name, *(heavy for heavy in {unwanted} if heavy in sys.modules))\n"
    )

    finished = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=300
    )

    assert finished.stdout.splitlines() == modules


LOCKS = sorted(path.name for path in (ROOT / "locks").glob("*.lock"))
REQUIREMENT = re.compile(r"^[a-zA-Z0-9._-]+==[^ ]+( ; .+?)? \\$")


def test_there_are_locks_for_use_and_for_development() -> None:
    """The packages for users, for development and for installing are pinned, each group in its own file."""
    assert {"runtime.lock", "dev.lock", "installer.lock"} <= set(LOCKS)


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_by_hash_and_name_no_server(name: str) -> None:
    """A lock decides which packages are installed, and the user decides from which server."""
    text = (ROOT / "locks" / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[^ #])", text.strip())

    assert "://" not in text
    assert "index-url" not in text
    assert len(entries) > (0 if name == "installer.lock" else 20)
    for entry in entries:
        requirement, *rest = entry.splitlines()
        assert REQUIREMENT.match(requirement), requirement
        assert re.match(r"    --hash=sha256:[0-9a-f]{64}( \\)?$", rest[0]), requirement


def test_no_file_has_a_path_of_one_machine() -> None:
    """No file names a home folder or another folder that exists on some machines only."""
    machine = re.compile(r"(?<![\w.:/-])/(home|root|Users|work|workspace|mnt|tmp)(/|\b)")
    kinds = {".py", ".toml", ".yaml", ".yml", ".j2", ".js", ".css", ".md", ".lock", ""}
    places = [*HOUSES, "deploy", "docs", "locks", "tests/bench", "tests/integration", "tests/browser", ".ci"]
    files = [
        *(path for place in places for path in (ROOT / place).rglob("*")),
        *(ROOT / name for name in ("Makefile", "README.md", "pyproject.toml", ".gitignore")),
    ]
    texts = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in files
        if path.is_file() and path.suffix in kinds and "__pycache__" not in path.parts
    }

    assert set(SOURCES) <= set(texts)
    assert {path: found.group() for path, text in texts.items() if (found := machine.search(text))} == {}


LINES_OF_A_MODULE, LINES_OF_A_FUNCTION = 350, 60
EXCUSED = f"over {LINES_OF_A_MODULE} lines"
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_modules_are_short_or_the_guide_has_the_reason() -> None:
    """The row of a longer module in CONTRIBUTING.md, and of no other, says "over 350 lines" and why."""
    long = {path for path in SOURCES if len((ROOT / path).read_text(encoding="utf-8").splitlines()) > LINES_OF_A_MODULE}
    excused = {path for path in SOURCES for row in GUIDE.splitlines() if f"`{path}`" in row and EXCUSED in row}

    assert long == excused


def test_functions_are_short() -> None:
    """No function or method has more than 60 lines, from `def` to its end."""
    lines = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in SOURCES
        for node in _nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }

    assert {name: count for name, count in lines.items() if count > LINES_OF_A_FUNCTION} == {}


def test_the_map_has_a_row_for_every_module_and_no_other() -> None:
    """A row of CONTRIBUTING.md begins with a path in backticks. An `__init__.py` with a docstring alone needs none."""
    bare = {path for path in SOURCES if path.endswith("/__init__.py") and len(_parsed(path).body) <= 1}
    named = re.findall(rf"^\| `((?:{'|'.join(HOUSES)})/[\w/]+\.py)` \|", GUIDE, re.MULTILINE)

    assert sorted(set(named) - bare) == sorted(set(SOURCES) - bare)
    assert set(named) <= set(SOURCES)
    assert {path for path in named if named.count(path) > 1} == set()
