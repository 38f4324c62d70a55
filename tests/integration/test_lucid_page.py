"""The code on the page for Lucid's users."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from core.method import optimise

ROOT = Path(__file__).parents[2]


def make_pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "make_pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_block_of_the_lucid_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block runs, with two updates instead of hundreds, and makes the picture that the page shows after it.

    Unless a block sets them, redirected gradients are off, because tracing them for two updates would take seconds.
    """
    render = optimise.render

    def few_updates(*arguments: Any, checkpoints: Any = (512,), **options: Any) -> optimise.Rendering:
        options = {"redirected_updates": 0} | options
        return render(*arguments, checkpoints=range(1, len(checkpoints) + 1), **options)

    monkeypatch.setattr(optimise, "render", few_updates)
    page = (ROOT / "docs" / "from-lucid.md").read_text()

    made = list(make_pictures().run(page))

    shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)
    assert [path for path, _ in made] == shown
    assert all(data[8:12] == b"WEBP" for _, data in made)
    for path in shown:
        assert (ROOT / "docs" / path).stat().st_size > 3000
