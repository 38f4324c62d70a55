"""`isthmus verify` of atlases that are damaged, unfinished, not published or whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus
from sample_records import make_spec
from test_verify import SPEC, plan_of, render

from core.atlas.manifest import MANIFEST_PATH, PAGE_PATH
from core.atlas.plan_files import SPEC_PATH
from core.gallery.publish import publish
from core.store.store import DirectoryStore

Change = Callable[[DirectoryStore], object]


def atlas_of(tmp_path: Path, chunks: int, *changes: Change) -> DirectoryStore:
    """Return an atlas of three pairs in two chunks, of which some are rendered, after changes."""
    store = DirectoryStore(tmp_path / "small")
    store.replace(SPEC_PATH, SPEC.to_json())
    for chunk in plan_of(store).chunks[:chunks]:
        render(store, chunk)
    for change in changes:
        change(store)
    return store


def published(store: DirectoryStore) -> None:
    publish(store, "small")


def without_page(store: DirectoryStore) -> None:
    store.delete(PAGE_PATH)


def without_manifest(store: DirectoryStore) -> None:
    store.delete(MANIFEST_PATH)


def one_more(store: DirectoryStore) -> None:
    render(store, plan_of(store).chunks[0])


@pytest.mark.parametrize(
    ("chunks", "changes", "state", "progress", "last"),
    [
        (2, [published], "complete", (3, 3, 0, 0), "0 missing, 0 damaged, 0 extra"),
        (1, [published], "unfinished", (3, 2, 0, 1),
         "unfinished: 2 of 3 pairs have records. To go on: isthmus build with its spec"),
        (1, [], "unfinished", (3, 2, 0, 1), "unfinished: 2 of 3 pairs have records, and no gallery is published. To go "
         "on: isthmus build with its spec"),
        (0, [], "unfinished", (3, 0, 0, 3), "unfinished: nothing is rendered yet, 0 of 3 pairs have records. To go on: "
         "isthmus build with its spec"),
        (2, [], "unpublished", (3, 3, 0, 0), "not published: no gallery has all pairs with records. To publish: "
         "isthmus publish"),
        (1, [published, one_more], "unpublished", (3, 3, 0, 0), "not published: no gallery has all pairs with records. "
         "To publish: isthmus publish"),
        (2, [published, without_page], "unpublished", (3, 3, 0, 0), "not published: no gallery has all pairs with "
         "records. To publish: isthmus publish"),
        (2, [published, without_manifest], "unpublished", (3, 3, 0, 0), "not published: no gallery has all pairs with "
         "records. To publish: isthmus publish"),
    ],
)  # fmt: skip
def test_an_undamaged_atlas_says_how_far_it_is(
    isthmus: Isthmus,
    tmp_path: Path,
    chunks: int,
    changes: list[Change],
    state: str,
    progress: tuple[int, ...],
    last: str,
) -> None:
    """No file is called missing and no repair is advised; the exit code is 0 only for a whole atlas."""
    atlas_of(tmp_path, chunks, *changes)

    said, facts = isthmus("verify", "small"), json.loads(isthmus("verify", "small", "--json").out)

    assert (said.code, said.err) == (int(state != "complete"), "")
    assert said.out.endswith(f"{last}\n")
    assert "repair" not in said.out
    assert said.out.splitlines()[0].startswith("small: ")
    assert (facts["state"], tuple(facts["progress"].values()), facts["unknown"]) == (state, progress, None)
    if state == "unpublished":
        assert isthmus("publish", "small").code == 0
        assert isthmus("verify", "small").code == 0


def test_repair_says_what_it_removed_and_succeeds(isthmus: Isthmus, tmp_path: Path) -> None:
    """Nothing is damaged afterwards; the removed pairs are missing, and a build renders them."""
    store = atlas_of(tmp_path, 2, published)
    sheet = next(iter(store.list("sheets/")))
    store.replace(sheet, b"damaged")

    damaged, repaired = isthmus("verify", "small"), isthmus("verify", "small", "--repair")

    assert (damaged.code, damaged.out.splitlines()[-1]) == (
        1,
        "To repair it: isthmus verify --repair, then isthmus build with its spec",
    )
    lines = repaired.out.splitlines()
    assert repaired.code == 0
    assert [line for line in lines if line.startswith("removed: ")] == [
        f"removed: {path}" for path in sorted([sheet, *_records_of(damaged.out, store)])
    ]
    assert lines[-2:] == [
        "removed 2 files; nothing is damaged now",
        f"unfinished: {plan_of(store).done} of 3 pairs have records. To go on: isthmus build with its spec",
    ]
    after = json.loads(isthmus("verify", "small", "--json").out)
    assert (after["intact"], after["state"], after["removed"]) == (True, "unfinished", [])


def _records_of(_: str, store: DirectoryStore) -> list[str]:
    """Return the record file that a repair has removed."""
    return [f"records/{chunk.name}.ndjson" for chunk in plan_of(store).chunks]


def test_repair_of_an_undamaged_atlas_removes_nothing(isthmus: Isthmus, tmp_path: Path) -> None:
    """Also if the page is missing, which only publishing writes."""
    for changes in ([published], [published, without_page], []):
        store = atlas_of(tmp_path, 2, *changes)
        before = list(store.list(""))

        said = isthmus("verify", "small", "--repair", "--json")

        assert (said.code, json.loads(said.out)["removed"]) == (0, [])
        assert list(store.list("")) == before


@pytest.mark.parametrize(
    ("spec", "unknown"),
    [
        (None, "no build has stored its spec; give the spec instead of the folder"),
        (b"{", "plan/spec.json: expected a mapping with name and pairs, got nothing"),
        ({"model": {"name": "inception-v1", "file": "gone.pb"}}, "model.file: expected the weights of inception-v1"),
        ({"model": {"name": "inception-v1", "file": "https://127.0.0.1:9/a.pb", "sha256": "0" * 64}},
         "the weights of inception-v1 are not on this machine; isthmus plan downloads them"),
        ({"model": "keras:MobileNetV2"}, "the weights of keras:MobileNetV2 are not on this machine"),
    ],
)  # fmt: skip
def test_without_spec_or_model_the_files_are_checked_all_the_same(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: Any, unknown: str
) -> None:
    """Nothing is downloaded. One line says why the pairs cannot be counted."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    store = atlas_of(tmp_path, 2, published)
    store.delete(SPEC_PATH)
    if spec is not None:
        store.replace(SPEC_PATH, spec if isinstance(spec, bytes) else make_spec(**spec).to_json())

    said, facts = isthmus("verify", "small"), json.loads(isthmus("verify", "small", "--json").out)

    assert said.code == 0
    assert said.out.splitlines()[-1].startswith(f"It cannot be told here whether all pairs are rendered: {unknown}")
    assert (facts["state"], facts["progress"]) == ("complete", None)


def test_an_atlas_that_was_only_begun_says_so(isthmus: Isthmus, tmp_path: Path) -> None:
    """Also if its spec cannot be read; nothing can be published or repaired."""
    (tmp_path / "begun" / "plan").mkdir(parents=True)
    (tmp_path / "begun" / "plan" / "spec.json").write_text("{}")

    said = isthmus("verify", "begun")

    assert said.code == 1
    assert "unfinished: nothing is rendered yet. To go on: isthmus build with its spec\n" in said.out
    assert "publish" not in said.out
    assert "repair" not in said.out


def test_the_spec_that_is_given_counts(isthmus: Isthmus, tmp_path: Path) -> None:
    """A bigger spec over the same atlas is unfinished, although the stored one is finished."""
    atlas_of(tmp_path, 2, published)
    bigger = {"name": "small", "output": str(tmp_path), "pairs": {"select": "all", "neurons": ["block5:0-3"]}}
    (tmp_path / "bigger.yaml").write_text(yaml.safe_dump(bigger))

    said = isthmus("verify", "bigger.yaml")

    assert said.code == 1
    assert said.out.splitlines()[-1].startswith("unfinished: 3 of 6 pairs have records. ")
