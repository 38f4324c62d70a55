"""The page of messages: every message on it is one that the code can print."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| `")]
VARIABLE = "…"


def texts(source: ast.AST) -> Iterator[str]:
    """Yield the texts in a source, with an ellipsis for each part that is computed."""
    for node in ast.walk(source):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = (str(part.value) if isinstance(part, ast.Constant) else VARIABLE for part in node.values)
            yield re.sub(f"{VARIABLE}+", VARIABLE, "".join(parts))


@pytest.fixture(scope="module")
def messages() -> list[str]:
    """The texts of all sources; the %s of a line in a log is a part that is computed, too."""
    sources = [
        *ROOT.glob("*.py"),
        *(path for house in ("core", "tasks", "flows") for path in ROOT.glob(f"{house}/**/*.py")),
    ]
    found = (text for path in sources for text in texts(ast.parse(path.read_text(encoding="utf-8"))))
    return [re.sub("%[sd]", VARIABLE, text) for text in found]


def test_every_message_on_the_page_exists(messages: list[str]) -> None:
    """A message stands on the page as it does in the code, with an ellipsis for each part that is computed."""
    written = [match[1] for match in (re.match(r"`([^`]+)`", row[0]) for row in ROWS) if match]

    assert len(written) == len(ROWS) > 30
    assert [message for message in written if not any(message in text for text in messages)] == []


def test_every_message_has_a_meaning_and_a_remedy_and_is_there_once() -> None:
    """A row has three cells with words in them."""
    assert [row for row in ROWS if len(row) != 3 or not all(len(cell.split()) > 1 for cell in row)] == []
    assert len({row[0] for row in ROWS}) == len(ROWS)
