"""Publishing: manifest, data and page are a function of the records and the spec alone."""

from __future__ import annotations

import hashlib
import json
import socket
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from published_data import columns_of, index_of
from sample_records import RECORDS, atlas, make_spec, record_of

from core.atlas.layer_order import write_layers
from core.atlas.manifest import MANIFEST_PATH, PAIRS_PATH, Counts, Manifest, read_manifest
from core.atlas.plan_files import SPEC_PATH
from core.atlas.public_spec import public_spec
from core.atlas.records import to_ndjson
from core.atlas.verify import verify
from core.errors import RecordError, StoreError, TransientStoreError
from core.gallery.page import pages
from core.gallery.publish import is_current, publish
from core.machine.environment import large_temporary_files
from core.neurons import Neuron
from core.spec import Compute, Storage
from core.spec_file import parse_spec
from core.store.store import DirectoryStore


def index_path(manifest: Manifest) -> str:
    assert manifest.index
    return manifest.index.path


def contents(store: DirectoryStore) -> dict[str, bytes]:
    """Return path -> bytes of every file except the records."""
    return {path: store.read(path) for path in store.list("") if not path.startswith("records/")}


def test_published_files_lie_where_the_contract_says(tmp_path: Path) -> None:
    """Publishing writes manifest, the scripts of the data, all records, and a page with its assets."""
    store = atlas(tmp_path, RECORDS)

    manifest = publish(store, "small")

    data, assets = list(store.list("data/")), list(store.list("assets/"))
    assert sorted(contents(store)) == sorted([*assets, *data, "index.html", "manifest.json"])
    assert data == sorted(file.path for file in manifest.data_files)
    assert [path.rpartition("-")[0] for path in data[:-1]] == [
        "data/all-00000",
        "data/detail-00000",
        "data/index",
        "data/lookup-00000",
    ]
    assert data[-1] == "data/pairs.ndjson"
    assert {Path(path).suffix for path in assets} == {".css", ".js", ".svg"}
    page = store.read("index.html").decode()
    assert all(path.removeprefix("assets/") in page for path in (*assets, index_path(manifest)))


def test_the_manifest_describes_the_atlas(tmp_path: Path) -> None:
    """The manifest has name, model, settings and counts, and reads back as it was written."""
    store = atlas(tmp_path, RECORDS)

    manifest = publish(store, "small")

    assert (manifest.format, manifest.name, manifest.model) == (2, "small", "efficientnet-lite0")
    assert manifest.model_digest == RECORDS[0].model_digest
    assert manifest.counts == Counts(pairs=5, done=4, failed=1)
    assert manifest.settings == {record.settings_digest: record.settings for record in RECORDS}
    assert len(manifest.settings) == 2
    assert read_manifest(store) == manifest


def test_every_published_data_file_is_as_the_manifest_says(tmp_path: Path) -> None:
    """The manifest has the digest, the size and the number of pairs of every data file."""
    store = atlas(tmp_path, RECORDS)
    publish(store, "small")

    listed = json.loads(store.read(MANIFEST_PATH))
    files = [listed["index"], *listed["shards"], *listed["details"], listed["records"]]
    assert {file["path"] for file in files} == set(store.list("data/"))
    for file in files:
        data = store.read(file["path"])
        assert file == {
            "path": file["path"],
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "pairs": 5,
        }
    assert all(file["sha256"][:10] in file["path"] for file in files[:-1])


def test_publishing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    """Published files do not depend on the time or the process."""
    store = atlas(tmp_path, RECORDS)
    publish(store, "small")
    first = contents(store)

    publish(store, "small")

    assert contents(store) == first


def test_neither_sequence_nor_repetition_of_records_matters(tmp_path: Path) -> None:
    """The same records in other files give the same published files."""
    one = atlas(tmp_path / "one", RECORDS)
    other = atlas(tmp_path / "other", RECORDS[3:], RECORDS[2::-1], RECORDS[:4])

    assert publish(one, "small") == publish(other, "small")
    assert contents(one) == contents(other)


@pytest.mark.parametrize("order", [("done", "failed"), ("failed", "done")])
def test_a_pair_that_failed_and_was_done_is_done(tmp_path: Path, order: tuple[str, str]) -> None:
    """A finished record wins over a failed one, whichever was written first."""
    manifest = publish(atlas(tmp_path, *([record_of("stem:0", "stem:1", status)] for status in order)), "small")

    assert manifest.counts == Counts(pairs=1, done=1, failed=0)


def test_pairs_are_in_natural_order(tmp_path: Path) -> None:
    """Pairs are sorted by neuron a, then by neuron b; numbers in layers and channels are compared as numbers."""
    store = atlas(tmp_path, RECORDS)
    publish(store, "small")

    pairs = [json.loads(line) for line in store.read(PAIRS_PATH).splitlines()]
    assert [(pair["a"], pair["b"]) for pair in pairs] == [
        ("block9:9", "block9:10"),
        ("block9:9", "block10:5"),
        ("block9:9", "block10:12"),
        ("block9:10", "block10:0"),
        ("block10:3", "block10:4"),
    ]
    assert columns_of(store, read_manifest(store))["key"] == [pair["key"] for pair in pairs]


def test_every_record_is_published_whole(tmp_path: Path) -> None:
    """The file of all records has the lines that the chunks wrote."""
    store = atlas(tmp_path, RECORDS[:2], RECORDS[2:])
    publish(store, "small")

    published = store.read(PAIRS_PATH).splitlines()
    assert sorted(published) == sorted(record.to_line().encode() for record in RECORDS)


def test_files_of_an_earlier_publication_are_removed(tmp_path: Path) -> None:
    """After publishing, no shard or script is left that the manifest or the page does not name."""
    store = atlas(tmp_path, RECORDS[:3])
    before = publish(store, "small")
    store.create("assets/gallery-0123456789.js", b"of another version")
    store.create("records/more.ndjson", to_ndjson(RECORDS))

    after = publish(store, "small")

    assert index_path(after) != index_path(before)
    assert list(store.list("data/")) == sorted(file.path for file in after.data_files)
    assert "assets/gallery-0123456789.js" not in list(store.list("assets/"))


def test_published_files_do_not_depend_on_how_records_are_spread_over_files(tmp_path: Path) -> None:
    """The records are published in one sequence, and the scripts have the same bytes."""
    records = [
        record_of(f"stem:{a}", f"head:{b}", "failed" if a == b else "done") for b in range(30) for a in range(20)
    ]
    store = atlas(tmp_path / "one", records[50:], records[:60])

    manifest = publish(store, "small")

    in_order = sorted(records, key=lambda record: (Neuron.parse(record.a), Neuron.parse(record.b)))
    assert store.read(PAIRS_PATH) == to_ndjson(in_order)
    assert [file.pairs for file in manifest.details] == [256, 256, 88]
    assert manifest.counts == Counts(pairs=600, done=580, failed=20)
    other = atlas(tmp_path / "other", in_order)
    publish(other, "small")
    assert contents(other) == contents(store)


def test_an_atlas_of_an_older_version_is_published_again(tmp_path: Path) -> None:
    """A manifest of format 1 can be read and verified, but it is not current; publishing replaces all its files."""
    store = atlas(tmp_path, RECORDS)
    spec = make_spec().model_dump(mode="json")
    store.replace(SPEC_PATH, json.dumps(spec).encode())
    publish(store, "small")
    assert is_current(store, spec, len(RECORDS))
    listed = json.loads(store.read(MANIFEST_PATH))
    shard = "data/index-00000-0123456789.js"
    store.replace(shard, b"isthmus.data({});")
    digest = hashlib.sha256(store.read(shard)).hexdigest()
    for file in (listed.pop("index"), *listed.pop("shards")):
        store.delete(file["path"])
    listed |= {"format": 1, "shards": [{"path": shard, "sha256": digest, "bytes": 17, "pairs": 5}]}
    store.replace(MANIFEST_PATH, json.dumps(listed).encode())

    assert not [path for path in verify(store).damaged if path.startswith("data/")]
    assert not is_current(store, spec, len(RECORDS))
    publish(store, "small")

    assert is_current(store, spec, len(RECORDS))
    assert not store.exists(shard)


class ListingStore(DirectoryStore):
    """A store that lists its changes in sequence."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.changes: list[str] = []

    def replace(self, path: str, data: bytes) -> None:
        self.changes.append(path)
        super().replace(path, data)

    def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
        self.changes.append(path)
        return super().swap(path, data, version)

    def delete(self, path: str) -> None:
        self.changes.append(f"delete {path}")
        super().delete(path)


def test_no_file_is_written_before_the_files_it_refers_to(tmp_path: Path) -> None:
    """Data is written before the manifest, the page after the files that it loads; old files are deleted last."""
    store = ListingStore(tmp_path)
    store.create("records/0.ndjson", to_ndjson(RECORDS))
    store.create("data/index-00000-old.js", b"")

    manifest = publish(store, "small")

    block, lookup = (file.path for file in manifest.shards)
    [detail], index = manifest.details, index_path(manifest)
    place = {path: number for number, path in enumerate(store.changes)}
    assert place[detail.path] < place[block]
    assert max(place[block], place[lookup]) < place[index]
    assert max(place[index], place[PAIRS_PATH]) < place[MANIFEST_PATH]
    assert max(place[path] for path in (index, *store.list("assets/"))) < place["index.html"]
    assert place["index.html"] < place["delete data/index-00000-old.js"] == len(store.changes) - 1


def test_scripts_that_exist_are_not_written_again(tmp_path: Path) -> None:
    """Publishing an unchanged atlas writes no data script; a new record leaves the scripts before it."""
    store = ListingStore(tmp_path)
    records = [record_of("stem:0", f"stem:{channel}") for channel in range(1, 300)]
    store.create("records/0.ndjson", to_ndjson(records))
    first = publish(store, "small")
    store.changes.clear()

    publish(store, "small")

    assert [path for path in store.changes if path.startswith("data/")] == [PAIRS_PATH]
    store.create("records/1.ndjson", to_ndjson([record_of("stem:1", "stem:2")]))
    second = publish(store, "small")
    assert second.details[0] == first.details[0]
    assert second.details[0].path not in store.changes
    assert second.details[1].path in store.changes


def test_a_full_disk_for_temporary_files_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the folder and what to do, and nothing is published."""
    store = atlas(tmp_path / "atlas", RECORDS)
    full = Path("/dev/full").open("r+b", buffering=1 << 20)  # noqa: SIM115  (the publisher closes it)
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: full)

    with pytest.raises(StoreError) as caught:
        publish(store, "small")

    assert str(caught.value) == (
        f"{large_temporary_files()}: could not keep the lines of records, No space left on device; "
        "make room there, or set TMPDIR to a folder with room for twice the record files"
    )
    assert contents(store) == {}


class OvertakenStore(DirectoryStore):
    """A store in which another publisher adds a record and publishes before each of the first writes of a path."""

    def __init__(self, root: Path, path: str, times: int = 1) -> None:
        super().__init__(root)
        self.path = path
        self.times = times

    def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
        if path == self.path and self.times:
            self.times -= 1
            other = DirectoryStore(self.root)
            other.create(f"records/other-{self.times}.ndjson", to_ndjson([OTHERS[self.times % len(OTHERS)]]))
            publish(other, "small")
        return super().swap(path, data, version)


OTHERS = [record_of("head:0", f"head:{channel}") for channel in range(1, 30)]


@pytest.mark.parametrize("path", [PAIRS_PATH, MANIFEST_PATH, "index.html"])
def test_an_older_publication_never_lands_on_a_newer_one(tmp_path: Path, path: str) -> None:
    """A publisher that is overtaken reads the records again, so all records are published and all files agree."""
    atlas(tmp_path, RECORDS)
    publish(DirectoryStore(tmp_path), "small")
    store = OvertakenStore(tmp_path, path)

    manifest = publish(store, "small")

    assert store.times == 0
    assert manifest.counts.pairs == len(RECORDS) + 1
    assert read_manifest(store) == manifest
    assert list(store.list("data/")) == sorted(file.path for file in manifest.data_files)
    assert index_path(manifest) in store.read("index.html").decode()
    assert hashlib.sha256(store.read(PAIRS_PATH)).hexdigest() == manifest.records.sha256


def test_a_publisher_that_is_overtaken_without_end_says_so(tmp_path: Path) -> None:
    """The error is transient, and the published files are those of the other publishers."""
    atlas(tmp_path, RECORDS)
    store = OvertakenStore(tmp_path, MANIFEST_PATH, times=len(OTHERS))

    with pytest.raises(TransientStoreError) as caught:
        publish(store, "small")

    assert str(caught.value) == f"{tmp_path}: could not publish, others kept publishing it; publish it again"
    tries = len(OTHERS) - store.times
    assert 2 < tries < len(OTHERS)
    assert read_manifest(store).counts.pairs == len(RECORDS) + tries


def test_new_files_of_another_publisher_stay(tmp_path: Path) -> None:
    """A shard that appears while publishing is not deleted, because its manifest may be written next."""
    shard = "data/index-00000-0123456789.js"

    class BusyStore(DirectoryStore):
        def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
            self.create(shard, b"of the other one")
            return super().swap(path, data, version)

    publish(BusyStore(atlas(tmp_path, RECORDS).root), "small")

    assert DirectoryStore(tmp_path).read(shard) == b"of the other one"


def test_detail_shards_that_another_publisher_deleted_are_written_again(tmp_path: Path) -> None:
    """Another publisher may delete new detail shards as leftovers, because no manifest names them yet."""

    class DeletingStore(DirectoryStore):
        deleted: str | None = None

        def swap(self, path: str, data: bytes | BinaryIO, version: str | None) -> bool:
            if self.deleted is None:
                self.deleted = next(self.list("data/"))
                self.delete(self.deleted)
            return super().swap(path, data, version)

    store = DeletingStore(atlas(tmp_path, RECORDS).root)

    manifest = publish(store, "small")

    assert store.deleted in {file.path for file in manifest.data_files}
    assert store.exists(store.deleted)


def test_the_manifest_lists_devices_and_versions(tmp_path: Path) -> None:
    """Each device and each set of versions is listed once."""
    newer = {"isthmus": "0.2.0"}
    others = [record_of("stem:0", f"stem:{i}", device="GPU", versions=newer) for i in (1, 2)]

    manifest = publish(atlas(tmp_path, RECORDS, others), "small")

    assert manifest.devices == ["CPU x86_64", "GPU"]
    assert manifest.versions == [{"isthmus": "0.1.0"}, newer]


def test_the_manifest_has_the_spec_of_the_last_build(tmp_path: Path) -> None:
    """The manifest has the stored spec; without a stored spec, publishing works from the records alone."""
    store = atlas(tmp_path, RECORDS)
    assert publish(store, "small").spec is None

    spec = make_spec()
    store.replace(SPEC_PATH, spec.model_dump_json().encode())

    assert publish(store, "small").spec == public_spec(spec.model_dump(mode="json"))


PRIVATE = {
    "output": "/home/me/atlases",
    "model": {"name": "inception-v1", "file": "/srv/weights/net.pb", "sha256": "0" * 64},
    "compute": {"engine": "ray", "ray_address": "ray://cluster.internal:10001", "processes": 7},
    "storage": {"endpoint_url": "https://store.internal:9000", "region": "eu-private"},
}


def test_nothing_of_the_machine_is_published(tmp_path: Path) -> None:
    """No published file has the output, folders, addresses of clusters and stores, host, user, or temporary folder."""
    spec = make_spec(**PRIVATE)
    store = atlas(tmp_path / "atlas", RECORDS)
    store.replace(SPEC_PATH, spec.to_json())

    manifest = publish(store, "small")

    private = ["/home/me", "/srv/weights", "internal", "9000", "10001", "eu-private", "processes", "output"]
    private += [socket.gethostname(), str(tmp_path), str(Path.home()), tempfile.gettempdir()]
    for path in ("manifest.json", *(file.path for file in manifest.data_files)):
        found = [word for word in private if len(word) > 2 and word in store.read(path).decode()]
        assert found == [], path
    for path, data in pages(manifest).items():  # their texts explain `output`
        assert [word for word in private[:6] if word in data.decode()] == [], path


@pytest.mark.parametrize(
    ("file", "published"),
    [
        ("/srv/weights/net.pb", "net.pb"),
        ("~/net.pb", "net.pb"),
        ("net.pb", "net.pb"),
        ("https://example.org/a/net.pb", "https://example.org/a/net.pb"),
        ("s3://weights/net.pb", "s3://weights/net.pb"),
    ],
)
def test_the_published_spec_builds_the_same_atlas(file: str, published: str) -> None:
    """It is a valid spec of the same pairs and settings; of the model's file it has the name or the address."""
    spec = make_spec(**PRIVATE | {"model": {**PRIVATE["model"], "file": file}}, render={"seed": 3, "steps": 9})

    public = public_spec(json.loads(spec.to_json()))

    again = parse_spec(public, "published")
    assert again.model == spec.model.model_copy(update={"file": published})
    for key in ("name", "pairs", "land", "strip", "render"):
        assert getattr(again, key) == getattr(spec, key)
    assert (again.output, again.compute, again.storage) == ("atlases", Compute(), Storage())


@pytest.mark.parametrize("model", [None, "efficientnet-lite0", {"name": "inception-v1", "file": 3}, []])
def test_a_spec_of_another_version_is_published_without_the_machine(model: Any) -> None:
    """A stored spec may have any form; only the keys of the machine go."""
    assert public_spec({"model": {"file": "file:///home/me/net.pb"}}) == {"model": {"file": "net.pb"}}
    assert public_spec({"model": {"derived": {"d": {"of": "x/y", "file": "../me/d.npy"}, "e": 3}}}) == {
        "model": {"derived": {"d": {"of": "x/y", "file": "d.npy"}, "e": 3}}
    }
    assert public_spec({"model": model, "output": "/x", "new": [{"at": "https://me:pass@example.org"}]}) == {
        "model": model,
        "new": [{"at": "https://example.org"}],
    }


def test_another_output_needs_no_publication(tmp_path: Path) -> None:
    """Moving an atlas or building it with other processes does not change what is published; other pairs do."""
    store = atlas(tmp_path, RECORDS)
    spec = make_spec(**PRIVATE)
    store.replace(SPEC_PATH, spec.to_json())
    publish(store, "small")

    moved = make_spec(**PRIVATE | {"output": "elsewhere", "compute": {}})
    assert is_current(store, json.loads(moved.to_json()), len(RECORDS))
    assert not is_current(store, json.loads(make_spec(("block5:0-5",), **PRIVATE).to_json()), len(RECORDS))


def test_layers_are_in_the_order_that_the_build_has_stored(tmp_path: Path) -> None:
    """The plan of a build stores the layers of its model; without them the natural order of names counts."""
    store = atlas(tmp_path, RECORDS)
    publish(store, "small")
    assert index_of(store, read_manifest(store))["layers"] == ["block9", "block10"]

    write_layers(store, RECORDS[0].model_digest, ["stem", "block10", "block9"])
    manifest = publish(store, "small")

    assert index_of(store, manifest)["layers"] == ["block10", "block9"]
    [first, *_] = [json.loads(line) for line in store.read(PAIRS_PATH).splitlines()]
    assert (first["a"], first["b"]) == ("block10:3", "block10:4")


@pytest.mark.parametrize("damaged", [b"", b"{}", b"[1]", b"\xff"])
def test_a_damaged_order_of_layers_is_named_by_its_path(tmp_path: Path, damaged: bytes) -> None:
    """The error names the file and what to do."""
    store = atlas(tmp_path, RECORDS)
    write_layers(store, RECORDS[0].model_digest, [])
    [path] = store.list("plan/")
    store.replace(path, damaged)

    with pytest.raises(RecordError) as caught:
        publish(store, "small")

    assert str(caught.value) == f"{store}/{path}: expected a list of layers; build the atlas again to rewrite it"


def test_the_digest_of_a_model_in_a_record_is_no_path(tmp_path: Path) -> None:
    """A record from elsewhere cannot make publishing read another file."""
    store = atlas(tmp_path / "atlas", [record_of("stem:0", "stem:1", model_digest="../../outside" + "0" * 51)])
    (tmp_path / "outside0000000.json").write_text("no list")

    assert publish(store, "small").counts.pairs == 1


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b"null", b"\xff"])
def test_a_damaged_spec_is_named_by_its_path(tmp_path: Path, damaged: bytes) -> None:
    """Publishing stops before it writes, and the error names the file."""
    store = atlas(tmp_path, RECORDS)
    store.replace(SPEC_PATH, damaged)

    with pytest.raises(RecordError) as caught:
        publish(store, "small")

    assert str(caught.value) == (f"{store}/{SPEC_PATH}: expected a JSON object; build the atlas again to rewrite it")
    assert list(contents(store)) == [SPEC_PATH]


def test_an_atlas_without_records_cannot_be_published(tmp_path: Path) -> None:
    """The error says to build the atlas first, and nothing is written."""
    with pytest.raises(RecordError) as caught:
        publish(DirectoryStore(tmp_path / "none"), "small")

    assert str(caught.value) == f"{tmp_path}/none: expected an atlas with records, found none; build it first"
    assert list(tmp_path.iterdir()) == []


GOOD = RECORDS[0].to_line()


@pytest.mark.parametrize(
    "line",
    [
        GOOD[:-20],
        GOOD.replace('"done"', '"perhaps"'),
        GOOD.replace('"seed":0', '"seed":"none"'),
        GOOD.replace('"seed":0,', ""),
        GOOD.replace('"seed":0', '"seed":0,"sead":1'),
        GOOD.replace(RECORDS[0].key, "../../" + RECORDS[0].key),
    ],
)
def test_a_damaged_record_is_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    """Publishing stops before it writes, and the one-line error names file and line."""
    store = atlas(tmp_path, RECORDS[1:3])
    assert line != GOOD
    store.create("records/x.ndjson", to_ndjson(RECORDS[3:]) + line.encode() + b"\n")

    with pytest.raises(RecordError) as caught:
        publish(store, "small")

    assert str(caught.value).startswith(f"{store}/records/x.ndjson line 3: expected a record, but ")
    assert len(str(caught.value).splitlines()) == 1
    assert contents(store) == {}


def test_a_record_with_a_malformed_neuron_is_named_by_its_key(tmp_path: Path) -> None:
    """A neuron that is not written `layer:channel` is an error that names the record's key."""
    with pytest.raises(RecordError) as caught:
        publish(atlas(tmp_path, [RECORDS[0].model_copy(update={"a": "stem"})]), "small")

    assert str(caught.value).startswith(f"record {RECORDS[0].key}: expected a neuron as ")
    assert str(caught.value).endswith(", got 'stem'")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"counts": {"pairs": 1, "done": 1}}, "counts.failed"),
        ({"format": 3}, "format"),
        ({"new": 1}, "new"),
        ({"shards": [{"path": "data/x.js", "sha256": "0", "bytes": "many", "pairs": 1}]}, "shards.0.bytes"),
        ({"shards": [{"path": "data/../../x.js", "sha256": "0", "bytes": 1, "pairs": 1}]}, "shards.0.path"),
        ({"records": {"path": "/etc/passwd", "sha256": "0", "bytes": 1, "pairs": 1}}, "records.path"),
        ({"records": {"path": "plan/spec.json", "sha256": "0", "bytes": 1, "pairs": 1}}, "records.path"),
    ],
)
def test_a_damaged_manifest_is_named_with_the_field(tmp_path: Path, change: dict[str, Any], field: str) -> None:
    """The one-line error names the file, the first wrong field, and the remedy."""
    store = atlas(tmp_path, RECORDS)
    publish(store, "small")
    store.replace(MANIFEST_PATH, json.dumps(json.loads(store.read(MANIFEST_PATH)) | change).encode())

    with pytest.raises(RecordError) as caught:
        read_manifest(store)

    assert str(caught.value).startswith(f"{store}/manifest.json: {field}: ")
    assert str(caught.value).endswith("; publish the atlas again to rebuild it")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\x00", b"[]"])
def test_a_manifest_that_is_no_json_object_is_one_line(tmp_path: Path, damaged: bytes) -> None:
    """For any bytes that are no manifest, the one-line error says that the whole file is wrong."""
    store = atlas(tmp_path)
    store.replace(MANIFEST_PATH, damaged)

    with pytest.raises(RecordError, match=r"manifest\.json: the whole file: ") as caught:
        read_manifest(store)

    assert len(str(caught.value).splitlines()) == 1


def test_an_atlas_that_was_never_published_has_no_manifest(tmp_path: Path) -> None:
    """Reading a missing manifest is an error of the store."""
    with pytest.raises(StoreError, match=r"manifest\.json: could not read, No such file or directory"):
        read_manifest(atlas(tmp_path, RECORDS))
