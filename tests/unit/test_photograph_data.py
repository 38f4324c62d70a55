"""What is published about photographs: the scripts of neurons and of natural strips, and the scores of pairs."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from published_data import called, columns_of, index_of, names_of, values
from sample_land import make_land, write_land
from sample_photographs import compare, make_pictures
from sample_records import RECORDS, atlas, record_of

from core.atlas.evidence import read_evidence
from core.atlas.image_records import THUMBNAILS
from core.atlas.manifest import Manifest
from core.atlas.natural_strip import levels, natural_strip
from core.atlas.records import to_ndjson
from core.atlas.scores import PHOTO_SCORES
from core.gallery.export import export
from core.gallery.lines import Lines
from core.gallery.natural_strips import AT_MOST
from core.gallery.photographs import read_photographs
from core.gallery.publish import is_current, publish
from core.gallery.table import read_table
from core.store.store import DirectoryStore

PHOTOGRAPHS = 60
LABELS = ["dog" if number < 20 else "cat" for number in range(PHOTOGRAPHS)]
CAPTION = "</script> a small cat"


def _means(seed: int = 1) -> dict[str, NDArray[Any]]:
    """Return activations of 16 channels of two layers; block10:3 is excited by dogs, block9:9 is dead."""
    random = np.random.default_rng(seed)
    means = {layer: np.maximum(0, random.gamma(0.5, 1, (PHOTOGRAPHS, 16)) - 0.2) for layer in ("block9", "block10")}
    means["block10"][:20, 3] += 5
    means["block9"][:, 9] = 0.5
    return means


def _published(root: Path, **changes: Any) -> tuple[DirectoryStore, Manifest]:
    """Return an atlas that was compared with photographs, and its manifest."""
    store = atlas(root, RECORDS)
    compare(store, _means(), labels=LABELS, **changes)
    with Lines() as lines:
        photographs = read_photographs(store, read_table(store, lines))
    assert photographs
    make_pictures(store, photographs.evidence.listing, sorted(photographs.wanted, key=str), CAPTION)
    return store, publish(store, "small")


def _scripts(store: DirectoryStore, manifest: Manifest) -> dict[str, list[Any]]:
    """Return kind -> arguments of the scripts about photographs; each kind has one script."""
    assert manifest.photographs
    files = [manifest.photographs.album, *manifest.photographs.scripts]
    return dict(called(store.read(file.path)) for file in files)


def test_natural_strips_are_published(tmp_path: Path) -> None:
    store, manifest = _published(tmp_path, equal={1: 0, 40: 5})
    index, columns, means = index_of(store, manifest), columns_of(store, manifest), _means()
    number, strips = _scripts(store, manifest)["natural"]
    assert manifest.photographs
    assert (number, manifest.photographs.album.path.encode() in store.read("index.html")) == (0, True)
    evidence = read_evidence(store)
    assert evidence
    names = names_of(index)
    shown = ~np.isin(np.arange(PHOTOGRAPHS), [1, 40])
    slots = sum(columns["frames"]) * AT_MOST
    places, level_a = values(strips["photographs"], slots), values(strips["a"], slots)
    start = 0
    for row, (a, b) in enumerate(zip(columns["a"], columns["b"], strict=True)):
        (layer_a, channel_a), (layer_b, channel_b) = (names[end].split(":") for end in (a, b))
        of_a, of_b = means[layer_a][:, int(channel_a)], means[layer_b][:, int(channel_b)]
        # What is stored has half precision, which may make equal what was not.
        of_a, of_b = (np.asarray(of, np.float32) for of in (of_a, of_b))
        expected = natural_strip(levels(of_a) * shown, levels(of_b) * shown, columns["frames"][row], AT_MOST).ravel()
        found = places[start : start + len(expected)]
        assert [place > 0 for place in found] == (expected >= 0).tolist()
        for place, level, photograph in zip(found, level_a[start:], expected, strict=False):
            if photograph >= 0:
                assert level == pytest.approx(16 * levels(of_a)[photograph], abs=1)
                assert strips["pictures"][place - 1]["class"] == ["cat", "dog"].index(LABELS[photograph])
        start += len(expected)
        active = [of > np.percentile(of, 90) for of in (of_a, of_b)]
        assert values(strips["both"], len(RECORDS))[row] == np.sum(active[0] & active[1])
        correlation = values(strips["correlation"], len(RECORDS))[row]
        if 9 in (int(channel_a) * (layer_a == "block9"), int(channel_b) * (layer_b == "block9")):
            assert correlation is None, "a dead neuron correlates with none"
        else:
            assert correlation == pytest.approx(np.corrcoef(of_a, of_b)[0, 1], abs=1e-3)


def test_neurons_have_their_photographs_and_classes(tmp_path: Path) -> None:
    store, manifest = _published(tmp_path)
    scripts, names = _scripts(store, manifest), names_of(index_of(store, manifest))
    [album] = scripts["album"]
    _, neurons = scripts["shown"]
    assert (album["photographs"], album["published"], album["classes"]) == (PHOTOGRAPHS, True, ["cat", "dog"])
    dogs = neurons[names.index("block10:3")]
    peaks = 2 * _means()["block10"][:, 3]
    assert [one["peak"] for one in dogs["strongest"]] == pytest.approx(np.sort(peaks)[:-17:-1], rel=2e-3)
    assert {one["class"] for one in dogs["strongest"]} == {1}
    assert {one["caption"] for one in dogs["strongest"]} == {CAPTION}
    assert all(store.exists(f"{THUMBNAILS}{one[kind][:2]}/{one[kind]}.webp")
               for one in dogs["strongest"] for kind in ("picture", "crop"))  # fmt: skip
    assert all(0 <= edge <= 1000 for one in dogs["strongest"] for edge in one["box"])
    assert [dogs["classes"][0][:2], dogs["highest"]] == [[1, 20], pytest.approx(peaks.max() / 2, rel=2e-3)]
    strongest = values(album["strongest"], 3 * len(names))
    assert strongest[3 * names.index("block10:3")] == 1, "a search for dogs finds it"
    assert set(strongest[3 * names.index("block9:9") : 3 * names.index("block9:9") + 3]) == {2}, "and no dead neuron"


def test_scores_of_photographs_are_columns(tmp_path: Path) -> None:
    store, manifest = _published(tmp_path)
    columns, names = columns_of(store, manifest), names_of(index_of(store, manifest))
    row = next(row for row, b in enumerate(columns["b"]) if names[b] == "block10:4")
    means = _means()["block10"]
    ends = [(end - of.mean()) / (of.max() - of.mean()) for end, of in ((3.0, means[:, 3]), (4.0, means[:, 4]))]
    assert columns["photo_multiple"][row] == pytest.approx(min(ends), rel=2e-3)
    assert columns["photo_correlation"][row] == pytest.approx(np.corrcoef(means[:, 3], means[:, 4])[0, 1], rel=2e-3)
    dead = [row for row, a in enumerate(columns["a"]) if names[a] == "block9:9"]
    assert [columns["photo_multiple"][row] for row in dead] == [None] * 3
    with Lines() as written:
        export(store, "csv", written)
        table = list(csv.DictReader(io.StringIO(written.read(0, written.bytes).decode(), newline="")))
    for score in PHOTO_SCORES:
        exported = [float(line[score]) if line[score] else None for line in table]
        assert exported == [None if value is None else pytest.approx(value, rel=1e-3) for value in columns[score]]
        assert exported != columns[score], "with full precision"


def test_neurons_of_a_land_have_photographs_without_pairs(tmp_path: Path) -> None:
    """They come after the neurons of pairs; an older land has them too, while a new one is not finished."""
    store = DirectoryStore(tmp_path)
    compare(store, _means(), labels=LABELS)
    land = write_land(store, make_land(5, 3, 8, layer="block9"))
    manifest = publish(store, "small", lambda _: land)
    scripts = _scripts(store, manifest)
    assert "natural" not in scripts
    assert scripts["album"][0]["others"] == {"block9": [0, 1, 2, 3, 4]}
    assert [len(one["strongest"]) for one in scripts["shown"][1]] == [16] * 5
    assert publish(store, "small", lambda _: None).photographs == manifest.photographs

    store.replace("records/0.ndjson", to_ndjson([record_of("block9:2", "block10:3")]))
    both = _scripts(store, publish(store, "small", lambda _: land))
    assert both["album"][0]["others"] == {"block9": [0, 1, 3, 4]}
    assert [both["shown"][1][place] for place in (0, 2, 3)] == [scripts["shown"][1][place] for place in (2, 0, 1)]

    other = replace(land, model_digest="f" * 64)
    assert _scripts(store, publish(store, "small", lambda _: other))["album"][0]["others"] == {}


def test_publish_false_leaves_numbers_alone(tmp_path: Path) -> None:
    """Neither pictures nor classes nor captions are in any published file, even if pictures exist."""
    store, manifest = _published(tmp_path / "open")
    assert any(b'"dog"' in store.read(file.path) for file in manifest.data_files)
    compare(store, _means(), labels=LABELS, publish=False)

    manifest = publish(store, "small")

    text = b"".join(store.read(path) for path in [*store.list("data/"), "manifest.json", "index.html"])
    assert not any(word in text for word in (b'"dog"', b"small cat", b"00001.jpg"))
    scripts = _scripts(store, manifest)
    assert (scripts["album"][0]["published"], scripts["album"][0]["classes"]) == (False, [])
    assert {name for one in scripts["shown"][1] for shown in one["strongest"] for name in shown} == {"peak"}
    assert "pictures" not in scripts["natural"][1]
    assert [len(one["strongest"]) for one in scripts["shown"][1]] == [16] * len(names_of(index_of(store, manifest)))
    assert columns_of(store, manifest)["photo_correlation"][-1] is not None


def test_an_atlas_without_photographs_has_nothing_of_them(tmp_path: Path) -> None:
    store = atlas(tmp_path, RECORDS)
    manifest = publish(store, "small")
    assert "album" not in index_of(store, manifest)
    assert "photographs" not in json.loads(store.read("manifest.json"))
    assert not {"photo_multiple", "photo_correlation"} & set(index_of(store, manifest)["ranges"])


def test_photographs_that_another_network_saw_do_not_count(tmp_path: Path) -> None:
    store = atlas(tmp_path, [record_of("block9:1", "block9:2", model_digest="f" * 64)])
    compare(store, _means())
    assert publish(store, "small").photographs is None


def test_photographs_that_another_direction_saw_do_not_count(tmp_path: Path) -> None:
    """If the matrix of a derived layer has changed since, its photographs are not shown below its new strips."""
    changes: dict[str, Any] = {"directions": ("a" * 20, None)}
    store = atlas(tmp_path, [record_of("block9:1", "block9:2", **changes), record_of("block9:2", "block9:3")])
    compare(store, _means())
    scripts = _scripts(store, publish(store, "small"))
    assert [summary is None for summary in scripts["shown"][1]] == [True, False, False]
    assert values(scripts["natural"][1]["by_chance"], 2)[0] is None


def test_an_atlas_is_published_again_after_other_photographs(tmp_path: Path) -> None:
    store, _ = _published(tmp_path)
    store.replace("plan/spec.json", b"{}")
    publish(store, "small")
    assert is_current(store, {}, len(RECORDS))
    compare(store, _means(seed=2), labels=LABELS)
    assert not is_current(store, {}, len(RECORDS))
    publish(store, "small")
    assert is_current(store, {}, len(RECORDS))
    assert sorted(store.list("data/")) == sorted(file.path for file in publish(store, "small").data_files)


def test_publishing_makes_the_pictures_of_natural_strips(tmp_path: Path) -> None:
    """They are made once, from the source; photographs that cannot be read have none, and that ends nothing."""
    store, source = atlas(tmp_path / "atlas", RECORDS), tmp_path / "photos"
    compare(store, _means(), source=source)
    without = publish(store, "small").photographs
    assert without
    assert (without.pictures, without.missing > 50) == (0, True)
    source.mkdir()
    for number in range(PHOTOGRAPHS):
        colours = np.random.default_rng(number).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(colours).resize((120, 80)).save(source / f"{number:05d}.jpg")
    compare(store, _means(), source=source)
    (source / "00007.jpg").unlink()

    manifest = publish(store, "small")

    strips = _scripts(store, manifest)["natural"][1]
    shown = [one["picture"] for one in strips["pictures"] if "picture" in one]
    assert len(shown) >= len(strips["pictures"]) - 1 > 20
    for picture in shown:
        image = Image.open(store.root / f"{THUMBNAILS}{picture[:2]}/{picture}.webp")
        assert max(image.size) <= 96
    files = manifest.photographs
    assert files
    assert 0 < files.missing < without.missing
    assert publish(store, "small") == manifest
