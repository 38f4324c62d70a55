"""The sources themselves: who imports whom, what stays light, and what does not belong in them."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSES = ("core", "tasks", "flows")
SOURCES = sorted(path.relative_to(ROOT).as_posix() for house in HOUSES for path in (ROOT / house).rglob("*.py"))
WITH_TENSORFLOW = {
    f"core/{name}.py"
    for name in (
        "color",
        "convolutions",
        "parameterization",
        "objectives",
        "transforms",
        "optimise",
        "strip",
        "portraits",
        "walk",
        "relu",
        "schedule",
        "bench/quality",
        "bench/step",
    )
}
LIGHT = (
    "spec",
    "neurons",
    "selection",
    "plan",
    "records",
    "store",
    "lock",
    "threads",
    "manifest",
    "gallery",
    "models",
    "chunk",
)


def imports_of(path: str) -> set[str]:
    """Every module that a source imports anywhere, by its full name."""
    return set(_imported(ast.walk(_parsed(path)), path))


def imports_at_once(path: str) -> set[str]:
    """The modules that a source imports when it is itself imported."""
    return set(_imported(_executed(_parsed(path).body), path))


def _parsed(path: str) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def _executed(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """Statements that run when a module is imported: those in functions do not, nor those for type checkers only."""
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


def _imported(nodes: Iterator[ast.AST], path: str) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} line {node.lineno}: imports are absolute here"
            yield node.module or ""


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_the_walk_over_the_sources_sees_what_it_should() -> None:
    """The rules below would hold of nothing: there are sources, and imports are found in all their places."""
    assert len(SOURCES) > 20
    assert "core.plan" in imports_of("tasks/plan.py")
    assert "tensorflow" in imports_of("core/models.py")
    assert "tensorflow" in imports_of("core/device.py")
    assert "tensorflow" not in imports_at_once("core/models.py") | imports_at_once("core/device.py")
    assert "prefect" in imports_at_once("tasks/render.py")


@pytest.mark.parametrize("path", SOURCES)
def test_imports_point_from_flows_to_tasks_to_core(path: str) -> None:
    """The method knows nothing of what runs it, and a task nothing of the flow that it is part of."""
    forbidden = {
        "core": {"tasks", "flows", "prefect", "typer", "rich"},
        "tasks": {"flows", "typer", "rich"},
        "flows": set[str](),
    }

    assert packages(imports_of(path)) & forbidden[path.partition("/")[0]] == set()


@pytest.mark.parametrize("path", SOURCES)
def test_only_what_makes_images_imports_tensorflow_at_once(path: str) -> None:
    """Everything else leaves seconds of loading to the moment when an image is made."""
    assert "tensorflow" not in packages(imports_at_once(path)) or path in WITH_TENSORFLOW


@pytest.mark.parametrize("path", SOURCES)
def test_only_the_store_speaks_with_object_stores(path: str) -> None:
    """Where bytes are kept is the business of one module, and where weights come from of another."""
    assert not packages(imports_of(path)) & {"boto3", "botocore"} or path in ("core/s3.py", "core/weights.py")


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        (["core", *(f"core.{name}" for name in LIGHT)], ["tensorflow", "prefect", "boto3"]),
        (["tasks", "flows", "flows.cli"], ["tensorflow", "prefect", "boto3"]),
    ],
)
def test_light_modules_stay_light(modules: list[str], unwanted: list[str]) -> None:
    """In a process that imports them one after the other, none brings a heavy library with it."""
    script = (
        "import importlib, sys\n"
        f"for name in {modules}:\n"
        "    importlib.import_module(name)\n"
        f"    print(name, *(heavy for heavy in {unwanted} if heavy in sys.modules))\n"
    )

    said = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60
    )

    assert said.stdout.splitlines() == modules


LOCKS = sorted(path.name for path in (ROOT / "locks").glob("*.lock"))
REQUIREMENT = re.compile(r"^[a-zA-Z0-9._-]+==[^ ]+( ; .+?)? \\$")


def test_there_are_locks_for_use_and_for_development() -> None:
    """What users run, what checks run with and what installs it is pinned, each in a file of its own."""
    assert {"runtime.lock", "dev.lock", "installer.lock"} <= set(LOCKS)


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_by_hash_and_name_no_server(name: str) -> None:
    """Whoever installs decides from where; what is installed is decided here."""
    text = (ROOT / "locks" / name).read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[^ #])", text.strip())

    assert "://" not in text
    assert "index-url" not in text
    assert len(entries) > (0 if name == "installer.lock" else 20)
    for entry in entries:
        requirement, *rest = entry.splitlines()
        assert REQUIREMENT.match(requirement), requirement
        assert re.match(r"    --hash=sha256:[0-9a-f]{64}( \\)?$", rest[0]), requirement


def test_no_source_has_a_path_of_somebodys_machine() -> None:
    """Whatever works here works elsewhere: no folder of a home or of a workplace is written down."""
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
