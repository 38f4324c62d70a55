"""The entry point finds the packages of Isthmus beside modules of other projects that have the same names."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prefect import Flow

import isthmus as entry

ROOT = Path(__file__).parents[2]
FILES = [("tasks.py",), ("core/__init__.py",), ("flows/__init__.py",), ("core.py", "tasks/__init__.py", "flows.py")]
FOREIGN = "raise SystemExit('a module of another project was imported')\n"
FINDS = f"""
import subprocess, sys
{{before}}
from isthmus import find_our_packages
find_our_packages()
child = "import core.spec, flows.options, tasks; print(tasks.__file__)"
print(subprocess.run([sys.executable, "-c", child], cwd={str(ROOT.parent)!r}, text=True, capture_output=True).stdout)
"""


def python(*arguments: str, path: list[Path], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder with a PYTHONPATH that ends with the sources of Isthmus, as if they were installed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, [*path, ROOT]))}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )


def other_project(folder: Path, files: tuple[str, ...]) -> Path:
    """Return a folder with the modules of another project, each of which would end the process that imports it."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FOREIGN, encoding="utf-8")
    return folder


@pytest.mark.parametrize("files", FILES)
def test_modules_of_other_projects_are_not_imported(tmp_path: Path, files: tuple[str, ...]) -> None:
    """The command line runs, and its child processes find the packages of Isthmus.

    The other project is on PYTHONPATH and in the current folder, and is not imported from either place.
    """
    path, folder = [other_project(tmp_path / "path", files)], other_project(tmp_path / "here", files)

    said = python("-m", "isthmus", "models", path=path, folder=folder)
    found = python("-c", FINDS.format(before=""), path=path, folder=folder)

    assert (said.returncode, said.stderr) == (0, "")
    assert "efficientnet-lite0" in said.stdout
    assert Path(found.stdout.strip()) == ROOT / "tasks" / "__init__.py", found.stderr


def test_the_package_flows_finds_the_others(tmp_path: Path) -> None:
    """`python -m flows.cli`, and deployments that name a module of flows, need no other entry point."""
    other = other_project(tmp_path, ("tasks.py", "core/__init__.py"))

    said = python("-m", "flows.cli", "models", path=[other], folder=tmp_path)

    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.parametrize("files", [(), ("isthmus/data.txt", "core/data.txt", "tasks/data.txt", "flows/data.txt")])
def test_nothing_changes_if_the_packages_are_found_anyway(tmp_path: Path, files: tuple[str, ...]) -> None:
    """Folders of the same names that hold no Python package come after real packages, so they do no harm."""
    other = other_project(tmp_path / "other", files)
    code = "import isthmus, os, sys; before = [*sys.path], {**os.environ}; isthmus.find_our_packages()\n"
    code += "assert before == (sys.path, {**os.environ})"

    assert python("-c", code, path=[other], folder=tmp_path).stderr == ""


@pytest.mark.parametrize("start", ["from isthmus import main; main()", "import isthmus; isthmus.find_our_packages()"])
def test_a_module_that_was_imported_before_is_named(tmp_path: Path, start: str) -> None:
    """If a process has imported another package of the same name, one line says so."""
    (tmp_path / "tasks.py").touch()

    said = python("-c", f"import tasks; {start}", path=[tmp_path], folder=tmp_path)

    expected = (
        f"expected the package 'tasks' in {ROOT}, but this process has already imported another 'tasks', "
        f"{tmp_path / 'tasks.py'}; run Isthmus in a process of its own"
    )
    if "main" in start:
        assert (said.returncode, said.stderr) == (2, f"isthmus: {expected}\n")
    else:
        assert said.stderr.splitlines()[-1] == f"ImportError: {expected}"


def test_flows_of_deployments_are_found_under_the_entry_point() -> None:
    """`isthmus.build_atlas` and `isthmus.render_shard` are flows; other names are unknown."""
    assert isinstance(entry.build_atlas, Flow)
    assert isinstance(entry.render_shard, Flow)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = entry.nonsense


def test_the_entry_point_imports_the_standard_library_only() -> None:
    """At import time it imports no package of Isthmus, because another project's package might be found."""
    body = ast.parse((ROOT / "isthmus.py").read_text(encoding="utf-8")).body
    names = {name.name for node in body if isinstance(node, ast.Import) for name in node.names}
    names |= {str(node.module) for node in body if isinstance(node, ast.ImportFrom)}

    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names


def plan_in_an_ascii_locale(folder: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    """Run `isthmus plan` with the locale C, without UTF-8 mode, on a spec whose output has an umlaut."""
    folder.mkdir()
    spec = 'name: small\noutput: "Größe"\npairs: {select: list, list: [["block1:1", "block1:2"]]}\n'
    (folder / "atlas.yaml").write_text(spec + "compute: {engine: work-pool}\n", encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "ISTHMUS_CACHE": str(folder)}
    return subprocess.run(
        [sys.executable, *options, "-m", "isthmus", "plan", str(folder / "atlas.yaml")],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | locale, cwd=folder, capture_output=True, timeout=300,
    )  # fmt: skip


def test_file_names_may_have_any_character_in_an_ascii_locale(tmp_path: Path) -> None:
    """Specs and paths with umlauts work; the output is ASCII."""
    said = plan_in_an_ascii_locale(tmp_path / "Zürich – 🙂")

    assert (said.returncode, said.stderr) == (0, b"")
    assert said.stdout.startswith(rb"Gr\xf6\xdfe/small: 1 pair, ")


def test_a_file_name_that_the_locale_cannot_have_is_one_line(tmp_path: Path) -> None:
    """If an option of Python forbids the UTF-8 mode, the message names the file."""
    said = plan_in_an_ascii_locale(tmp_path / "atlas", "-X", "utf8=0")

    assert said.returncode == 2
    assert said.stderr == (
        b"isthmus: expected a file name in ascii, the encoding of this locale, got '\\xf6\\xdf' in "
        b"'Gr\\xf6\\xdfe/small/records'; set PYTHONUTF8=1\n"
    )
