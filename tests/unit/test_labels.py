"""Tags of flow runs and links to galleries, without a Prefect server."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.spec import AtlasSpec
from flows import labels

PAIRS = {"select": "list", "list": [["block5:0", "block5:1"]]}


def spec_with(**keys: object) -> AtlasSpec:
    return AtlasSpec.model_validate({"name": "corals", "pairs": PAIRS} | keys)


@pytest.mark.parametrize(
    ("output", "store"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/some/prefix/", "s3://bucket/some/prefix"),
    ],
)
def test_tags_name_atlas_model_and_store(output: str, store: str) -> None:
    """The model's file is left out."""
    model = {"name": "inception-v1", "file": "https://host/graph.pb", "sha256": "0" * 64}
    spec = spec_with(output=output).model_copy(update={"model": spec_with().model.model_copy(update=model)})

    assert labels.run_tags(spec) == ("atlas:corals", "model:inception-v1", f"store:{store}")


def test_the_tag_of_a_directory_is_its_full_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative paths and `~` are resolved, because runs on several machines are shown side by side."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert labels.run_tags(spec_with(output="atlases"))[2] == f"store:{tmp_path.resolve()}/atlases"
    assert labels.run_tags(spec_with(output="~/atlases"))[2] == f"store:{tmp_path}/home/atlases"


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("/srv/my atlases (new)/corals/index.html", "file:///srv/my%20atlases%20%28new%29/corals/index.html"),
        ("https://store/bucket/corals/index.html", "https://store/bucket/corals/index.html"),
    ],
)
def test_a_link_can_be_opened_whatever_the_path(monkeypatch: pytest.MonkeyPatch, page: str, link: str) -> None:
    """Paths become file:// addresses, in which blanks and brackets cannot end a Markdown link; addresses stay."""
    shown = {}
    monkeypatch.setattr(labels, "create_link_artifact", lambda link, **rest: shown.update(rest, link=link))

    labels.gallery_link("corals-gallery", "corals", page)

    assert (shown["link"], shown["key"]) == (link, "corals-gallery")
