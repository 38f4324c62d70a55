"""The documentation: its specs, its links, and its statements about the sources and about the keys of a spec."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.spec import AtlasSpec, Compute
from core.spec_file import parse_spec

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "deploy/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
SPEC_PAGE = (ROOT / "docs" / "spec.md").read_text()


def test_the_specs_in_the_documentation_are_valid() -> None:
    """Every YAML block of README and docs is a spec, or some sections of a spec, that can be parsed."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]

    assert len(blocks) >= 1
    required = {"name": "part", "pairs": {"select": "all", "neurons": ["stem:0-1"]}}
    for block in blocks:
        written = yaml.safe_load(block)
        parse_spec(written if "name" in written else required | written, "documentation")


def test_links_between_pages_lead_somewhere() -> None:
    """Relative links, pictures and headings of README, CONTRIBUTING, deploy and docs exist."""
    for page in PAGES:
        for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", page.read_text()):
            linked = page.parent / target if target else page
            assert linked.exists(), (page.name, target)
            assert not heading or heading in _anchors(linked), (page.name, target, heading)


def test_files_that_the_pages_name_exist() -> None:
    """A path such as core/spec.py exists, and so does a name that is written after it."""
    named = r"\b((?:core|flows|tasks|tests|docs|deploy|locks)/[\w./-]*\w)(?:: (\w+))?(?![\w*])"
    found = [(page, *match) for page in PAGES for match in re.findall(named, page.read_text())]

    assert len(found) > 20
    assert [mention for mention in found if not (ROOT / mention[1]).exists()] == []
    assert [(page, path, name) for page, path, name in found if name and name not in _defined(ROOT / path)] == []


def test_dotted_names_in_the_pages_exist() -> None:
    """A name such as core.method.strip is a module, or is defined in one."""
    text = {page: page.read_text() for page in PAGES}
    dotted = r"(?<![\w./-])((?:core|flows|tasks)(?:\.[A-Za-z_]\w*)+)"
    found = [(page, name) for page in text for name in re.findall(dotted, text[page]) if not name.endswith(".py")]
    blocks = [(page, block) for page in text for block in re.findall(r"```python\n(.*?)```", text[page], re.DOTALL)]
    found += [(page, name) for page, block in blocks for name in _imported(block)]

    assert any(name == "core.method.optimise.render" for _, name in found)
    assert [(page, name) for page, name in found if not _exists(name)] == []


@pytest.mark.parametrize(
    ("heading", "section"),
    [
        ("Top level", None),
        ("`land`", "land"),
        ("`images`", "images"),
        ("`render`", "render"),
        ("`compute`", "compute"),
        ("`storage`", "storage"),
    ],
)
def test_the_page_of_the_spec_has_every_key_with_its_default(heading: str, section: str | None) -> None:
    """The table of a section has a row for each key of its model, and the model's default in it."""
    model = _section(section) if section else AtlasSpec
    rows = {key.strip("`"): default for key, default, _ in _table(heading)}
    fields = dict(_fields(model))

    assert set(rows) == set(fields)
    compute = Compute()
    defaults = {  # of keys that are null where a spec leaves them out
        "deployment": compute.shard_deployment,
        "workers": compute.shards_in_flight,
        "shard_minutes": round(compute.shard_seconds / 60),
    }
    wrong = {
        key: rows[key]
        for key, field in fields.items()
        if not (rows[key].strip("`") == f"{defaults[key]}" if key in defaults else _tells_default(rows[key], field))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("key", "given", "words"),
    [
        ("steps", {"schedule": "plain"}, "`plain`"),
        ("sd", {"schedule": "plain"}, "`plain`"),
        ("alignment.weight", {"alignment": {"scale": "lucid"}}, "`scale: lucid`"),
    ],
)
def test_the_page_of_the_spec_has_defaults_that_depend_on_other_keys(
    key: str, given: dict[str, Any], words: str
) -> None:
    """The second number in the row of a key is its default with the setting that is named beside it."""
    [cell] = [default for name, default, _ in _table("`render`") if name == f"`{key}`"]
    first, second = (attrgetter(key)(_section("render").model_validate(each)) for each in ({}, given))

    assert first != second
    assert cell == f"{first}, or {second} with {words}"


def test_the_page_of_the_spec_has_every_key_of_every_selection() -> None:
    """The table of `pairs` has a row for each selection, its keys, and their defaults if they have any."""
    rows = {select.strip("`"): keys for select, keys, _ in _table("`pairs`")}
    selection, _ = get_args(AtlasSpec.model_fields["pairs"].annotation)
    selections = get_args(get_args(selection)[0])

    assert len(selections) == len(rows)
    for selection in selections:
        fields = dict(selection.model_fields)
        [name] = get_args(fields.pop("select").annotation)
        written = dict(re.findall(r"`(\w+)`(?: \((\w+)\))?", rows[name]))

        assert set(written) == set(fields)
        assert {key: yaml.safe_load(default) for key, default in written.items() if default} == {
            key: field.default for key, field in fields.items() if not field.is_required()
        }


def test_the_page_of_the_spec_has_every_key_of_a_model() -> None:
    """The row of `model` names the keys that its mapping may have."""
    [meaning] = [meaning for key, _, meaning in _table("Top level") if key == "`model`"]

    assert set(re.findall(r"`(\w+)`", meaning)) == set(_section("model").model_fields)


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _defined(module: Path) -> set[str]:
    """Return the names that a module defines at its top level."""
    names: set[str] = set()
    for statement in ast.parse(module.read_text()).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


def _imported(block: str) -> Iterator[str]:
    """Return the dotted names that a block of code imports from this project."""
    for statement in ast.walk(ast.parse(block)):
        if isinstance(statement, ast.ImportFrom) and str(statement.module).split(".")[0] in ("core", "tasks", "flows"):
            yield from (f"{statement.module}.{alias.name}" for alias in statement.names)


def _exists(dotted: str) -> bool:
    """Return whether a dotted name is a package, a module, or a name that one of them defines."""
    path, parts = ROOT, dotted.split(".")
    for place, part in enumerate(parts):
        if (path / part).is_dir():
            path /= part
            continue
        module, rest = (
            (path / f"{part}.py", parts[place + 1 :])
            if (path / f"{part}.py").exists()
            else (path / "__init__.py", parts[place:])
        )
        return not rest or rest[0] in _defined(module)
    return True


def _table(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of the spec's page, three a row."""
    below = SPEC_PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in below.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def _section(key: str) -> type[BaseModel]:
    annotation = AtlasSpec.model_fields[key].annotation
    model, *_ = get_args(annotation) or (annotation,)
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    return model


def _fields(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Return the keys of a section as the page writes them; keys of a mapping inside the section come after a dot."""
    for key, field in model.model_fields.items():
        inner = field.annotation
        if model is not AtlasSpec and isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from ((f"{key}.{name}", part) for name, part in _fields(inner))
        else:
            yield key, field


def _tells_default(cell: str, field: FieldInfo) -> bool:
    """Return whether a cell has the default of a key: its value, or words if the default is documented elsewhere."""
    if field.is_required():
        return cell == "required"
    default = field.default
    if isinstance(default, BaseModel):
        return cell in ("", f"`{getattr(default, 'name', None)}`")
    if default in (None, ()):
        return bool(cell) and not cell.startswith("`")
    return bool(yaml.safe_load(cell.split(",")[0].strip("`")) == default)
