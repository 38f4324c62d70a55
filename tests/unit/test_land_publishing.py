"""The published land: its tiles, its script and its place in the manifest, whatever interrupts publishing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from sample_land import make_land, write_land
from sample_records import RECORDS, atlas

from core.atlas.finished_land import FinishedLand, block_reader, check_finished
from core.atlas.labels import store_labels
from core.atlas.land_picture import part, tile_places
from core.atlas.manifest import (
    MANIFEST_PATH,
    PAGE_PATH,
    Counts,
    Manifest,
    read_manifest,
    read_tile_index,
    tile_index_path,
)
from core.atlas.records import to_ndjson
from core.atlas.verify import repair, verify
from core.errors import RecordError
from core.gallery.land import tiles_folder
from core.gallery.publish import is_current, publish
from core.neurons import Neuron
from core.pictures.land import Land
from core.pictures.sheets import decode, encode_png
from core.store.store import DirectoryStore, Store

LAND = make_land(23, 5, 104)
"""520 x 520 px: two levels, of one tile and of four."""


def reading(finished: FinishedLand | None) -> Callable[[Store], FinishedLand | None]:
    return lambda _: finished


def contents(store: DirectoryStore) -> dict[str, bytes]:
    """Return path -> bytes of every published file."""
    return {path: store.read(path) for path in store.list("") if not path.startswith(("records/", "land/blocks/"))}


def script_of(store: Store, manifest: Manifest) -> dict[str, Any]:
    """Return the fields of the published script of a land."""
    assert manifest.land is not None
    script = store.read(manifest.land.data).decode()
    fields: dict[str, Any] = json.loads(script.removeprefix("isthmus.land(").removesuffix(");\n"))
    return fields


def test_tiles_show_the_land(tmp_path: Path) -> None:
    """The largest level has the pixels of the blocks, as closely as WebP allows; each tile is where the script says."""
    store = atlas(tmp_path, RECORDS)
    finished = write_land(store, LAND)
    manifest = publish(store, "small", reading(finished))
    paths = {block: stored.path for block, stored in finished.blocks.items()}

    fields = script_of(store, manifest)
    assert (fields["levels"], fields["tile_px"]) == (2, 512)
    tile = decode(store.read(f"{fields['tiles']}1/1_0.webp"))
    pixels = part(LAND, block_reader(store, LAND, paths), 0, 512, 512, 8)
    assert tile.shape == pixels.shape
    assert np.abs(tile.astype(int) - pixels).mean() < 8
    assert np.corrcoef(tile.ravel(), pixels.ravel())[0, 1] > 0.98
    assert {path for path in store.list(fields["tiles"]) if path.endswith(".webp")} == {
        f"{fields['tiles']}{level}/{column}_{row}.webp" for level, column, row in tile_places(LAND)
    }


def test_the_script_has_the_numbers_by_place(tmp_path: Path) -> None:
    """Numbers are rounded to four digits; one that all places have stands alone; unknown ones are null."""
    store = atlas(tmp_path, RECORDS)
    finished = write_land(store, LAND)

    fields = script_of(store, publish(store, "small", reading(finished)))

    assert fields["layer"] == "stem"
    assert fields["channels"] == list(range(23))
    assert (fields["rows"], fields["columns"], fields["cell_px"]) == (5, 5, 104)
    assert (fields["model"], fields["steps"]) == ("efficientnet-lite0", 64)
    assert fields["activation"] == [float(f"{value:.4g}") for value in finished.activation]
    assert fields["compared"][0] is None
    assert fields["dead"] == [0, 1] + [0] * 21
    assert fields["noise"] == 0.25


def test_neurons_of_a_land_have_their_labels_even_without_pairs(tmp_path: Path) -> None:
    """The script has the labels by place; a land is not current if they have changed."""
    store = atlas(tmp_path, RECORDS)
    store.replace("plan/spec.json", b"{}")
    finished = write_land(store, LAND)
    assert "labels" not in script_of(store, publish(store, "small", reading(finished)))

    store_labels(store, {Neuron("stem", 22): ("curves", "<b>arcs</b>"), Neuron("head", 1): ("not on the land",)})
    assert not is_current(store, {}, 5, reading(finished))
    assert script_of(store, publish(store, "small", reading(finished)))["labels"] == {"22": ["curves", "<b>arcs</b>"]}
    assert is_current(store, {}, 5, reading(finished))


@pytest.mark.parametrize("layer", ["</script><script>alert(1)</script>", "\"'\n\\", "א" * 200, "a\u2028b"])
def test_a_hostile_layer_cannot_leave_the_script(tmp_path: Path, layer: str) -> None:
    """The script is ASCII without `<`, whatever the layer's name, and reads back as that name."""
    store = atlas(tmp_path)
    manifest = publish(store, "small", reading(write_land(store, make_land(layer=layer))))

    assert manifest.land is not None
    assert re.fullmatch(rb"isthmus\.land\([ !-;=-~]*\);\n", store.read(manifest.land.data))
    assert script_of(store, manifest)["layer"] == layer


def test_publishing_a_land_again_gives_the_same_bytes_and_reads_no_block(tmp_path: Path) -> None:
    """Nothing is rendered if all tiles exist, and another store gets the same bytes."""
    store, other = atlas(tmp_path / "one", RECORDS), atlas(tmp_path / "other", RECORDS)
    finished = write_land(store, LAND)
    first = publish(store, "small", reading(finished))
    before = contents(store)
    for path in store.list("land/blocks/"):
        store.delete(path)

    assert publish(store, "small", reading(finished)) == first
    assert contents(store) == before
    assert publish(other, "small", reading(write_land(other, LAND))) == first
    assert contents(other) == before


def test_an_atlas_of_a_land_alone_is_published(tmp_path: Path) -> None:
    """Without pairs, the manifest has model, devices and versions of the land, and the page refers to nothing else."""
    store = atlas(tmp_path)

    manifest = publish(store, "small", reading(write_land(store, LAND)))

    assert manifest.counts == Counts(pairs=0, done=0, failed=0)
    assert (manifest.model, manifest.devices, manifest.versions) == (
        "efficientnet-lite0",
        ["CPU x86_64"],
        [{"isthmus": "0.1.0"}],
    )
    assert (manifest.shards, manifest.details, manifest.records.bytes) == ([], [], 0)
    assert read_manifest(store) == manifest
    assert store.exists(PAGE_PATH)


def test_a_manifest_without_a_land_is_as_before(tmp_path: Path) -> None:
    """Versions that do not know of lands can read it."""
    store = atlas(tmp_path, RECORDS)
    publish(store, "small")

    assert "land" not in json.loads(store.read(MANIFEST_PATH))


def test_an_unfinished_land_leaves_the_published_one(tmp_path: Path) -> None:
    """While another land is rendered, the page and its tiles stay, and the pairs are published."""
    store = atlas(tmp_path, RECORDS[:3])
    first = publish(store, "small", reading(write_land(store, LAND)))
    tiles = {path: store.read(path) for path in store.list("land/")}
    store.create("records/more.ndjson", to_ndjson(RECORDS))

    second = publish(store, "small", reading(None))

    assert second.land == first.land is not None
    assert second.counts.pairs == 5
    assert store.exists(first.land.data)
    assert {path: store.read(path) for path in store.list("land/")} == tiles


def test_tiles_of_another_land_are_removed(tmp_path: Path) -> None:
    """After publishing, only the tiles of the published land are left, and all blocks."""
    store = atlas(tmp_path, RECORDS)
    before = publish(store, "small", reading(write_land(store, LAND)))
    blocks = set(store.list("land/blocks/"))
    finished = write_land(store, LAND, seed=1)

    after = publish(store, "small", reading(finished))

    assert before.land is not None
    assert after.land is not None
    assert after.land.tiles != before.land.tiles
    assert not store.exists(before.land.data)
    assert list(store.list(before.land.tiles)) == []
    assert blocks <= set(store.list("land/blocks/"))


class _KilledError(Exception):
    pass


class _DyingStore(DirectoryStore):
    """A store whose process is killed after a number of writes and deletions."""

    left = 0

    def replace(self, path: str, data: bytes) -> None:
        self._spend()
        super().replace(path, data)

    def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
        self._spend()
        return super().swap(path, data, version)

    def delete(self, path: str) -> None:
        self._spend()
        super().delete(path)

    def _spend(self) -> None:
        if self.left <= 0:
            raise _KilledError
        self.left -= 1


def files_of_page(store: Store) -> set[str]:
    """Return the paths of all files that the published page refers to, and that those refer to."""
    page = store.read(PAGE_PATH).decode()
    paths = set(re.findall(r"(?:assets|data)/[^\" ]+-[0-9a-f]{8,10}\.(?:js|css)", page))
    for path in [*paths]:
        if path.startswith("data/land-"):
            fields = json.loads(store.read(path).decode().removeprefix("isthmus.land(").removesuffix(");\n"))
            paths |= {f"{fields['tiles']}{level}/{column}_{row}.webp" for level, column, row in tile_places(LAND)}
    return paths


def test_a_kill_at_any_moment_leaves_a_page_whose_files_exist(tmp_path: Path) -> None:
    """After any number of writes and deletions, the page that is there refers to files that are there."""
    store = _DyingStore(atlas(tmp_path, RECORDS[:3]).root)
    store.left = 1000
    old = publish(store, "small", reading(write_land(store, LAND)))
    finished = write_land(store, LAND, seed=1)
    store.create("records/more.ndjson", to_ndjson(RECORDS))
    kills = 0
    while kills < 100:
        store.left = kills
        try:
            new = publish(store, "small", reading(finished))
        except _KilledError:
            kills += 1
        else:
            break
        assert {path for path in files_of_page(store) if not store.exists(path)} == set()
        listed = read_manifest(store).land
        assert listed is not None
        assert store.exists(listed.data)
        assert (
            set(store.list(listed.tiles))
            >= read_tile_index(store.read(tile_index_path(listed.tiles)), tile_index_path(listed.tiles)).keys()
        )

    assert kills > 5
    assert new.land is not None
    assert set(store.list("data/")) >= {new.land.data}
    assert [path for path in store.list("land/") if old.land and path.startswith(old.land.tiles)] == []


def test_tiles_are_written_once(tmp_path: Path) -> None:
    """A publication that is killed halfway is resumed: tiles that exist are not written again."""
    store = _DyingStore(atlas(tmp_path).root)
    store.left = 1000
    finished = write_land(store, LAND)
    store.left = 3
    with pytest.raises(_KilledError):
        publish(store, "small", reading(finished))
    tiles = [path for path in store.list(tiles_folder(finished)) if path.endswith(".webp")]
    store.left = 1000
    for path in tiles:
        store.replace(path, b"kept")

    publish(store, "small", reading(finished))

    assert tiles
    assert all(store.read(path) == b"kept" for path in tiles)


def test_a_land_is_current_if_its_tiles_and_numbers_are_published(tmp_path: Path) -> None:
    """Another picture, or other numbers, must be published."""
    store = atlas(tmp_path, RECORDS)
    store.replace("plan/spec.json", b"{}")
    finished = write_land(store, LAND)
    publish(store, "small", reading(finished))

    assert is_current(store, {}, 5, reading(finished))
    assert is_current(store, {}, 5, reading(None))
    assert not is_current(store, {}, 5, reading(write_land(store, LAND, seed=1)))
    other = FinishedLand(**finished.__dict__ | {"steps": 65})
    assert not is_current(store, {}, 5, reading(other))


def test_another_publisher_that_deletes_tiles_makes_this_one_begin_again(tmp_path: Path) -> None:
    """Tiles that a concurrent publisher has deleted as leftovers are written again."""

    class DeletingStore(DirectoryStore):
        deleted: str | None = None

        def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
            if self.deleted is None:
                self.deleted = next(path for path in self.list("land/") if path.endswith(".webp"))
                self.delete(self.deleted)
            return super().swap(path, data, version)

    store = DeletingStore(atlas(tmp_path).root)

    publish(store, "small", reading(write_land(store, LAND)))

    assert store.deleted
    assert store.exists(store.deleted)


@pytest.mark.parametrize("which", ["tile", "index", "script"])
def test_verify_finds_damage_and_publishing_mends_it(tmp_path: Path, which: str) -> None:
    """Every published file of a land has its digest in the manifest or in the index of tiles."""
    store = atlas(tmp_path)
    finished = write_land(store, LAND)
    manifest = publish(store, "small", reading(finished))
    before = contents(store)
    assert verify(store).intact
    assert manifest.land is not None
    path = {
        "tile": f"{manifest.land.tiles}1/0_1.webp",
        "index": tile_index_path(manifest.land.tiles),
        "script": manifest.land.data,
    }[which]
    store.replace(path, b"{}")

    report = verify(store)
    repair(store, report)
    publish(store, "small", reading(finished))

    assert report.damaged == (path,)
    assert contents(store) == before


def test_a_land_with_missing_blocks_is_not_finished(tmp_path: Path) -> None:
    """The message has the number of missing blocks and what to do."""
    store = atlas(tmp_path)
    finished = write_land(store, LAND)
    paths = {block: stored.path for block, stored in finished.blocks.items()}
    check_finished(store, LAND, paths)
    store.delete(paths[next(LAND.blocks)])

    with pytest.raises(RecordError, match=r"expected a finished land, 1 of its 6 blocks is missing; isthmus build"):
        check_finished(store, LAND, paths)


@pytest.mark.parametrize(
    ("data", "found"),
    [(b"no picture", "cannot identify image file"), (encode_png(np.zeros((4, 5, 3), np.uint8)), "found 4 x 5 px")],
)
def test_a_damaged_block_is_named(tmp_path: Path, data: bytes, found: str) -> None:
    """The message has the file, what was expected and what to do, and nothing is published."""
    store = atlas(tmp_path, RECORDS)
    finished = write_land(store, LAND)
    path = finished.blocks[next(LAND.blocks)].path
    store.replace(path, data)

    with pytest.raises(RecordError, match=rf"{path}: expected the picture of a block, 312 x 416 px, {found}.*; run"):
        publish(store, "small", reading(finished))
    assert not store.exists(PAGE_PATH)


def test_the_folder_of_tiles_depends_on_pictures_and_places(tmp_path: Path) -> None:
    """Other blocks, and other places of the same blocks, have tiles of their own."""
    finished = write_land(DirectoryStore(tmp_path), LAND)
    paths = dict(finished.blocks)
    first, second, *_ = paths
    paths[first], paths[second] = paths[second], paths[first]
    wider = Land((Neuron("stem", 0),) * 20, 4, 104, 2, 3, 52)

    folders = {
        tiles_folder(finished),
        tiles_folder(FinishedLand(**finished.__dict__ | {"blocks": paths})),
        tiles_folder(FinishedLand(**finished.__dict__ | {"land": wider})),
    }

    assert len(folders) == 3
