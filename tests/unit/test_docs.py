"""The documentation's specs and links."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from core.spec_file import parse_spec

ROOT = Path(__file__).parents[2]


def test_the_specs_in_the_documentation_are_valid() -> None:
    """Every YAML block of README and docs that is a spec can be parsed."""
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    blocks = [block for page in pages for block in re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)]

    assert len(blocks) >= 1
    for block in blocks:
        parse_spec(yaml.safe_load(block), "documentation")


def test_links_between_pages_lead_somewhere() -> None:
    """Relative links and pictures of README, CONTRIBUTING and docs exist."""
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), (page.name, target)
