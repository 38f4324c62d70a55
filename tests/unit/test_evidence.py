"""Evidence from photographs: what is kept of them, whatever the parts and whatever is killed, and what it says."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from command_line import Isthmus
from graphs import Graph
from hostile_images import encoded, picture
from PIL import Image
from skimage import data as skimage_data

from core.atlas import evidence_summary, image_plan
from core.atlas.activation_files import LayerActivations, PartActivations, pack, unpack
from core.atlas.evidence import Evidence, Responses, read_evidence, read_responses
from core.atlas.evidence_summary import NeuronSummary, summarise
from core.atlas.image_records import images_from_ndjson
from core.atlas.photograph_means import read_levels_and_means
from core.atlas.plan import Plan, make_plan
from core.atlas.plan_files import read_chunk, write_plan
from core.atlas.public_spec import public_spec
from core.atlas.thumbnails import make_thumbnails, read_thumbnails, show_photographs
from core.atlas.verify import repair, verify
from core.errors import RecordError, SpecError
from core.method.objectives import channel
from core.method.optimise import render
from core.method.parameterization import image
from core.models.models import load
from core.neurons import Neuron
from core.photographs.decoding import decoded
from core.rendering.chunk import render_chunk
from core.spec import AtlasSpec
from core.spec_file import parse_spec
from core.store.store import DirectoryStore, Store

SIZE = (24, 24)
NEURONS = [Neuron("first", 0), Neuron("second", 3), Neuron("first", 2)]
COUNT, DAMAGED = 75, 20


def network() -> bytes:
    """Return a network of two layers for images of 24 px."""
    dice = np.random.default_rng(0)
    graph = Graph()
    source = graph.image(size=SIZE)
    graph.convolution("first", source, dice.normal(size=(3, 3, 3, 4), scale=0.3).astype(np.float32))
    graph.convolution("second", "first", dice.normal(size=(5, 5, 4, 6), scale=0.1).astype(np.float32), stride=2)
    return bytes(graph)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the network, and photographs of three classes, one of which is damaged."""
    folder = tmp_path_factory.mktemp("photographs")
    (folder / "net.pb").write_bytes(network())
    for number in range(COUNT):
        path = folder / "photos" / "abc"[number % 3] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number, (30, 40)), "PNG"))
    (folder / "photos" / "c" / f"{DAMAGED:03}.png").write_bytes(b"no picture")
    (folder / "photos" / "a" / "000.txt").write_text("a caption\nin two lines")
    (folder / "photos" / "LICENSE").write_text("free for all")
    return folder


def spec_of(folder: Path, **changes: Any) -> AtlasSpec:
    images = {"source": str(folder / "photos"), "labels": "folders"}
    spec = {
        "name": "seen",
        "model": {"name": "frozen-graph", "file": str(folder / "net.pb")},
        "pairs": {"select": "all", "neurons": ["first:0-3", "second:3-4"]},
        "images": images,
        "render": {"size_px": 32, "steps": 2, "frames": 3, "alignment": {"weight": 0}},
    }
    return parse_spec({**spec, **changes}, "here")


def plan_of(spec: AtlasSpec, store: Store, **options: Any) -> Plan:
    return make_plan(spec, store, 1, only_images=True, **options)


def read(spec: AtlasSpec, store: Store) -> Plan:
    """Read what is missing, as a build does, and return the last plan."""
    while (plan := plan_of(spec, store)).chunks:
        write_plan(store, plan)
        for chunk in plan.chunks:
            render_chunk(read_chunk(store, plan.path, chunk.name), store)
    write_plan(store, plan)
    assert plan.images is not None
    show_photographs(store, spec.storage, plan.images.evidence, plan.images.neurons)
    return plan


def known(store: Store) -> Evidence:
    evidence = read_evidence(store)
    assert evidence is not None
    return evidence


def small_parts(monkeypatch: pytest.MonkeyPatch, images: int) -> None:
    monkeypatch.setattr(image_plan, "_SMALLEST_PART", images)
    monkeypatch.setattr(image_plan, "_LARGEST_PART", images)


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> DirectoryStore:
    """An atlas whose photographs are read in two parts."""
    store = DirectoryStore(tmp_path_factory.mktemp("atlas") / "seen")
    read(spec_of(folder), store)
    return store


@pytest.fixture
def store(whole: DirectoryStore, tmp_path: Path) -> DirectoryStore:
    """A copy, which the test may change."""
    shutil.copytree(whole.root, tmp_path / "seen")
    return DirectoryStore(tmp_path / "seen")


@pytest.fixture(scope="module")
def computed(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Layer -> activations on all photographs that count, computed at once; and under `class` their classes."""
    paths = sorted((folder / "photos").glob("*/*.png"))
    paths = [path for path in paths if path.stem != f"{DAMAGED:03}"]
    images = np.stack([decoded(path.read_bytes(), SIZE) for path in paths])
    found = load(spec_of(folder).model).activations(tf.constant(images, tf.float32) / 255, {"first", "second"})
    return {layer: t.numpy() for layer, t in found.items()} | {"class": np.array([path.parent.name for path in paths])}


def of_neuron(computed: dict[str, np.ndarray[Any, Any]], neuron: Neuron) -> np.ndarray[Any, Any]:
    """Return the activations of a neuron, shape (image, position)."""
    t = computed[neuron.layer]
    return t[..., neuron.channel].reshape(len(t), -1)


def test_mean_peak_and_place_are_those_of_the_network(
    whole: DirectoryStore, computed: dict[str, np.ndarray[Any, Any]]
) -> None:
    """Every photograph counts once, in order of the list, to the precision of half floats."""
    evidence = known(whole)
    found = read_responses(whole, evidence, NEURONS)

    assert evidence.count == COUNT - 1 == len(found.numbers)
    assert {evidence.listing.photographs[n].file.path: why for n, why in evidence.skipped.items()} == {
        f"c/{DAMAGED:03}.png": "it is neither JPEG, PNG nor WebP"
    }
    for place, neuron in enumerate(NEURONS):
        values = of_neuron(computed, neuron)
        np.testing.assert_allclose(found.mean[:, place], values.mean(axis=1), rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.peak[:, place], values.max(axis=1), rtol=1e-3, atol=1e-5)
        at_place = np.take_along_axis(values, found.position[:, place : place + 1], axis=1)[:, 0]
        np.testing.assert_allclose(at_place, values.max(axis=1), rtol=1e-5, atol=1e-6)
    assert (evidence.layers["first"].channels, evidence.layers["second"].height) == (4, 12)


def test_summaries_agree_with_numpy(whole: DirectoryStore) -> None:
    """Means, deviations, sparsity, the strongest, the middle and the classes, from the recorded numbers."""
    evidence = known(whole)
    found = read_responses(whole, evidence, NEURONS)
    labels = np.array([evidence.listing.photographs[number].label for number in found.numbers])
    summaries = summarise(whole, evidence, NEURONS)

    for place, neuron in enumerate(NEURONS):
        summary, mean = summaries[neuron], found.mean[:, place].astype(float)
        peak = found.peak[:, place].astype(float)
        n, r = len(peak), np.maximum(peak, 0)
        assert summary.images == n
        assert summary.mean == pytest.approx(mean.mean())
        assert summary.deviation == pytest.approx(mean.std(), rel=1e-6)
        assert summary.highest == mean.max()
        assert (summary.peak_mean, summary.peak_deviation) == pytest.approx((peak.mean(), peak.std()), rel=1e-6)
        assert summary.active == (peak > 0).mean()
        assert summary.sparsity == pytest.approx((1 - r.mean() ** 2 / (r**2).mean()) / (1 - 1 / n))
        order = np.lexsort((found.numbers, -mean, -peak))[:16]
        assert [each.number for each in summary.strongest] == found.numbers[order].tolist()
        assert [each.peak for each in summary.strongest] == peak[order].tolist()
        width = evidence.layers[neuron.layer].width
        assert [each.place for each in summary.strongest] == [divmod(p, width) for p in found.position[order, place]]
        low, high = np.quantile(peak, [0.4, 0.6])
        assert len({each.number for each in summary.middle}) == 8
        assert all(low - 1e-6 <= each.peak <= high + 1e-6 for each in summary.middle)
        strengths = {label: (peak[labels == label].mean() - peak.mean()) / peak.std() for label in "abc"}
        assert [each.label for each in summary.classes] == sorted(strengths, key=strengths.__getitem__, reverse=True)
        assert {each.label: each.strength for each in summary.classes} == pytest.approx(strengths)
        assert sum(each.count for each in summary.classes) == n
    assert summarise(whole, evidence, NEURONS[1:2])[NEURONS[1]] == summaries[NEURONS[1]]


def test_of_equal_peaks_the_larger_mean_comes_first() -> None:
    """A ReLU6 has its largest value on many photographs; then the first in the list, whatever the parts."""
    peak = np.array([[6], [5], [6], [6], [6]], np.float32)
    mean = np.array([[1], [9], [2], [3], [3]], np.float32)
    numbers = np.arange(5, dtype=np.int32)
    for cuts in ([0, 5], [0, 1, 3, 5]):
        real, whole = np.empty((0, 1), np.float32), np.empty((0, 1), np.int32)
        digests = numbers.astype(np.uint64)
        strongest = evidence_summary._Strongest(whole, real, real, whole)
        for part in map(slice, cuts, cuts[1:]):
            read = Responses(numbers[part], mean[part], peak[part], numbers[part, None], digests[part])
            strongest.add(read, np.ones(len(read.numbers), bool))
        assert strongest.numbers[:, 0].tolist() == strongest.position[:, 0].tolist() == [3, 4, 2, 0, 1]


def everything(store: Store) -> tuple[Responses, dict[Neuron, NeuronSummary]]:
    evidence = known(store)
    return read_responses(store, evidence, NEURONS), summarise(store, evidence, NEURONS)


def assert_same(first: Store, second: Store) -> None:
    """Make sure that two atlases have the same numbers to the last bit."""
    (one, said), (other, also_said) = everything(first), everything(second)
    for name in ("numbers", "mean", "peak", "position"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert said == also_said


@pytest.mark.parametrize("images", [16, 32])
def test_the_parts_change_no_number(
    folder: Path, whole: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    """Five parts, or three, give the same activations and summaries to the last bit."""
    small_parts(monkeypatch, images)
    other = DirectoryStore(tmp_path / "other")
    read(spec_of(folder), other)

    assert len(list(other.list("images/records/"))) == -(-COUNT // images) != len(list(whole.list("images/records/")))
    assert_same(whole, other)


class DyingStore:
    """A store whose process dies at a write, before or after it has happened."""

    def __init__(self, store: Store, writes: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, writes, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def __str__(self) -> str:
        return str(self._store)

    def create(self, path: str, data: bytes) -> bool:
        self._left -= 1
        if self._left < 0 and not self._after:
            raise KeyboardInterrupt
        created = self._store.create(path, data)
        if self._left < 0:
            raise KeyboardInterrupt
        return created


def test_whenever_it_is_killed_nothing_is_lost_or_counted_twice(
    folder: Path, whole: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that dies at the 2nd, 4th, 8th write and so on, before or after it, makes the same atlas."""
    small_parts(monkeypatch, 16)
    store, deaths = DirectoryStore(tmp_path / "killed"), 0
    while True:
        dying: Any = DyingStore(store, 2 << deaths, after=deaths % 2 == 0)
        try:
            read(spec_of(folder), dying)
        except KeyboardInterrupt:
            deaths += 1
        else:
            break

    assert deaths > 3
    parts = [
        record.part for path in store.list("images/records/") for record in images_from_ndjson(store.read(path), path)
    ]
    assert len(parts) == len(set(parts)) == 5
    assert_same(whole, store)
    assert read_thumbnails(store, known(store)) == read_thumbnails(whole, known(whole))
    report = verify(store)
    assert (report.damaged, report.extra) == ((), ())


def test_more_photographs_and_more_layers_read_only_what_is_new(
    folder: Path, store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Photographs at the end leave whole parts as they are; another layer is read alone, another channel not at all."""
    more = tmp_path / "more"
    shutil.copytree(folder, more)
    spec = spec_of(more, pairs={"select": "all", "neurons": ["first:0-1"]})
    small_parts(monkeypatch, 16)
    other = DirectoryStore(tmp_path / "other")
    read(spec, other)
    before = set(other.list("images/activations/"))

    strongest = summarise(store, known(store), NEURONS[:1])[NEURONS[0]].strongest[0].number
    copied = known(store).listing.photographs[strongest].file.path
    shutil.copy(more / "photos" / copied, more / "photos" / "z.png")
    assert [len(chunk.images.photographs) for chunk in plan_of(spec, other).chunks if chunk.images] == [12]
    assert plan_of(spec, other, relist=False).chunks == ()
    assert plan_of(spec_of(more, pairs={"select": "all", "neurons": ["first:2-3"]}), other, relist=False).chunks == ()
    wider = spec_of(more)
    planned = plan_of(wider, other, relist=False)
    assert {chunk.images.layers for chunk in planned.chunks if chunk.images} == {("second",)}
    read(wider, other)
    assert before < set(other.list("images/activations/"))
    assert known(other).count == COUNT
    assert read_responses(other, known(other), NEURONS).numbers.tolist() == [
        n for n in range(COUNT + 1) if n not in known(other).skipped
    ]
    numbers = read_responses(other, known(other), NEURONS).numbers
    assert numbers[~read_levels_and_means(other, known(other), NEURONS)[2]].tolist() == [COUNT]
    shown = summarise(other, known(other), NEURONS)[NEURONS[0]]
    assert shown.strongest[0].number == strongest
    assert COUNT not in {each.number for each in (*shown.strongest, *shown.middle)}, "an equal file is shown once"


def test_small_pictures_show_what_was_seen(whole: DirectoryStore, folder: Path) -> None:
    """Every shown photograph has a picture of what the network saw and of the place; equal pictures are one file."""
    evidence = known(whole)
    summaries = summarise(whole, evidence, NEURONS)
    pictures = read_thumbnails(whole, evidence)

    for shown in (each for summary in summaries.values() for each in (*summary.strongest, *summary.middle)):
        for box in (None, shown.box):
            record = pictures[shown.number, box]
            assert record.path is not None
            with Image.open(whole.root / record.path) as opened:
                assert opened.format == "WEBP"
                assert max(opened.size) == 96
                small = np.asarray(opened.convert("RGB").resize(SIZE), int)
            if box is None:
                path = folder / "photos" / evidence.listing.photographs[shown.number].file.path
                assert np.abs(small - decoded(path.read_bytes(), SIZE)).mean() < 12
    assert len(list(whole.list("images/thumbnails/"))) - 2 <= len({record.sha256 for record in pictures.values()})
    assert whole.read("images/licence.txt") == b"free for all"
    captions = {record.caption for (number, box), record in pictures.items() if number == 0 and box is None}
    assert captions <= {"a caption in two lines"}


def test_photographs_that_are_gone_or_changed_have_a_reason_and_no_picture(folder: Path, tmp_path: Path) -> None:
    """Their activations stay. A picture is never that of another photograph."""
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    spec, store = spec_of(mine), DirectoryStore(tmp_path / "seen")
    plan = plan_of(spec, store)
    write_plan(store, plan)
    for chunk in plan.chunks:
        render_chunk(read_chunk(store, plan.path, chunk.name), store)
    evidence = known(store)
    paths = [photograph.file.path for photograph in evidence.listing.photographs]
    (mine / "photos" / paths[3]).unlink()
    (mine / "photos" / paths[4]).write_bytes((mine / "photos" / paths[5]).read_bytes())
    make = [(number, None) for number in (3, 4, 5)]

    make_thumbnails(store, spec.storage, evidence, make)
    made = read_thumbnails(store, evidence)
    assert [made[each].reason for each in make] == [
        "it is no longer there",
        "it has changed since its activations were computed",
        None,
    ]
    assert [made[each].path is None for each in make] == [True, True, False]
    (mine / "photos" / paths[3]).write_bytes((folder / "photos" / paths[3]).read_bytes())
    make_thumbnails(store, spec.storage, evidence, make)
    assert read_thumbnails(store, evidence)[3, None].path is None, "publishing reads no photograph twice in vain"
    show_photographs(store, spec.storage, evidence, ())
    assert read_thumbnails(store, evidence)[3, None].path is not None
    assert read_thumbnails(store, evidence)[4, None].path is None


def test_pairs_by_activations_wait_for_new_photographs(folder: Path, store: DirectoryStore, tmp_path: Path) -> None:
    """A build would otherwise select other pairs, or none, as soon as it has noted the new list."""
    shutil.copytree(folder, tmp_path / "mine")
    pairs = {"select": "nearest", "neurons": ["first:0-3"], "k": 1, "by": "activations"}
    spec = spec_of(tmp_path / "mine", pairs=pairs)
    assert 2 <= make_plan(spec, store, 1).pairs <= 4

    (tmp_path / "mine" / "photos" / "z.png").write_bytes(encoded(picture(500, (30, 40)), "PNG"))
    with pytest.raises(SpecError, match="run isthmus images SPEC first"):
        make_plan(spec, store, 1)
    assert 2 <= make_plan(spec.model_copy(update={"images": None}), store, 1).pairs <= 4


def test_captions_and_the_licence_follow_the_source(folder: Path, store: DirectoryStore, tmp_path: Path) -> None:
    """Texts that are changed, added or removed later are those of the atlas, without another pass."""
    shutil.copytree(folder, tmp_path / "mine")
    photos, spec = tmp_path / "mine" / "photos", spec_of(tmp_path / "mine")

    def follow() -> tuple[str | None, str | None, bool]:
        evidence = known(store)
        make_thumbnails(store, spec.storage, evidence, [(0, None), (1, None)])
        made = read_thumbnails(store, evidence)
        return made[0, None].caption, made[1, None].caption, store.exists("images/licence.txt")

    assert follow() == ("a caption in two lines", None, True)
    (photos / "a" / "000.txt").write_text("another caption")
    (photos / "a" / "003.json").write_text('{"caption": "a second one"}')
    (photos / "LICENSE").write_text("on other terms")
    assert not plan_of(spec, store).chunks
    read(spec, store)
    assert follow() == ("another caption", "a second one", True)
    assert store.read("images/licence.txt") == b"on other terms"
    (photos / "a" / "000.txt").unlink()
    (photos / "LICENSE").unlink()
    read(spec, store)
    assert follow() == (None, "a second one", False)


def test_a_machine_without_the_photographs_records_nothing(folder: Path, tmp_path: Path) -> None:
    """A folder whose disk is not mounted is empty; its files have not been left out of the source."""
    mine = tmp_path / "mine"
    shutil.copytree(folder, mine)
    store = DirectoryStore(tmp_path / "seen")
    plan = plan_of(spec_of(mine), store)
    write_plan(store, plan)
    shutil.rmtree(mine / "photos")
    (mine / "photos").mkdir()

    for chunk in plan.chunks:
        with pytest.raises(SpecError, match=r"expected the photographs that were there .* found none of (64|11)"):
            render_chunk(read_chunk(store, plan.path, chunk.name), store)
    assert list(store.list("images/records/")) == []


def test_nothing_is_shown_if_the_spec_forbids_it(folder: Path, store: DirectoryStore) -> None:
    """Pictures and captions that are there already are removed; the numbers stay."""
    images = {"source": str(folder / "photos"), "labels": "folders", "publish": False}
    before = everything(store)[1]
    plan = read(spec_of(folder, images=images), store)

    assert plan.images is not None
    assert not plan.images.missing
    assert list(store.list("images/thumbnails/")) == []
    assert everything(store)[1] == before


def test_no_key_depends_on_photographs(folder: Path, tmp_path: Path) -> None:
    """Strips of a spec have the same keys, and equal chunks, with and without photographs; these come last."""
    store = DirectoryStore(tmp_path / "seen")
    with_images, without = (make_plan(spec, store, 1) for spec in (spec_of(folder), spec_of(folder, images=None)))

    assert with_images.stages[:-1] == without.stages
    assert all(chunk.images for chunk in with_images.stages[-1])
    assert [pair.key for pair in with_images.missing_pairs] == [pair.key for pair in without.missing_pairs]
    assert with_images.seconds(1) > without.seconds(1)
    assert with_images.unrecorded == without.unrecorded + COUNT


def test_damage_is_found_and_repaired(folder: Path, store: DirectoryStore, whole: DirectoryStore) -> None:
    """Damaged activations and pictures are named; after a repair they are made again, with the same numbers."""
    activations = sorted(store.list("images/activations/"))[0]
    small = sorted(path for path in store.list("images/thumbnails/") if path.endswith(".webp"))[0]
    for path in (activations, small):
        store.replace(path, b"nothing")
    report = verify(store)
    assert {activations, small} == set(report.damaged)
    with pytest.raises(RecordError, match="expected activations on photographs; run isthmus verify --repair"):
        everything(store)

    repair(store, report)
    read(spec_of(folder), store)
    assert not verify(store).damaged
    assert_same(whole, store)
    assert read_thumbnails(store, known(store)) == read_thumbnails(whole, known(whole))


def test_a_portrait_among_photographs_comes_first_with_its_place(tmp_path: Path) -> None:
    """An image that excites a neuron of the real network, put into one photograph, is found where it was put."""
    neuron, cell = Neuron("block5_expand_pre_relu", 17), 80
    portrait = render(load("efficientnet-lite0"), channel(*neuron), image(cell), checkpoints=(24,))
    scene = skimage_data.astronaut(), skimage_data.coffee(), skimage_data.chelsea(), skimage_data.rocket()
    dice = np.random.default_rng(0)
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(24):
        whole = scene[number % 4]
        top, left = dice.integers(0, whole.shape[0] - 224), dice.integers(0, whole.shape[1] - 224)
        crop = whole[top : top + 224, left : left + 224].copy()
        if number == 13:
            crop[40 : 40 + cell, 120 : 120 + cell] = np.rint(portrait.images[24][0] * 255)
        Image.fromarray(crop).save(photos / f"{number:02}.png")
    spec = parse_spec(
        {
            "name": "seen",
            "pairs": {"select": "list", "list": [[str(neuron), "block5_expand_pre_relu:18"]]},
            "images": {"source": str(photos)},
        },
        "here",
    )
    store = DirectoryStore(tmp_path / "seen")
    read(spec, store)

    strongest = summarise(store, known(store), [neuron])[neuron].strongest
    assert strongest[0].number == 13
    assert strongest[0].peak > 1.1 * strongest[1].peak
    row, column = strongest[0].place
    assert 40 < 8 * row + 4 < 40 + cell
    assert 120 < 8 * column + 4 < 120 + cell
    top, left, bottom, right = strongest[0].box
    assert top <= 8 * row + 4 <= bottom
    assert left <= 8 * column + 4 <= right
    assert bottom - top < 100


def test_the_receptive_field_is_what_reaches_a_position(whole: DirectoryStore, folder: Path) -> None:
    """A 3 x 3 and then a 5 x 5 convolution: 7 px in each direction, moved with the position and clipped at the edge."""
    layer = known(whole).layers["second"]
    assert layer.box(5 * layer.width + 5, SIZE) in ((7, 7, 14, 14), (8, 8, 15, 15))
    assert known(whole).layers["first"].box(0, SIZE) == (0, 0, 2, 2)
    model = load(spec_of(folder).model)
    base = np.random.default_rng(3).uniform(size=(1, *SIZE, 3)).astype(np.float32)
    top, left, bottom, right = layer.box(5 * layer.width + 5, SIZE)
    changed = base.copy()
    changed[:, :top] = changed[:, bottom:] = changed[:, :, :left] = changed[:, :, right:] = 0
    values = [model.activations(tf.constant(each), {"second"})["second"][0, 5, 5].numpy() for each in (base, changed)]
    np.testing.assert_allclose(*values, atol=1e-6)


def test_of_a_derived_layer_only_the_named_directions_are_kept(
    folder: Path, tmp_path: Path, computed: dict[str, np.ndarray[Any, Any]]
) -> None:
    """Their activations are products with the directions; another matrix under the same name is read anew."""
    matrix = np.random.default_rng(1).normal(size=(9, 4)).astype(np.float32)
    np.save(tmp_path / "sae.npy", matrix)
    model = {"name": "frozen-graph", "file": str(folder / "net.pb")}
    model["derived"] = {"sae": {"of": "first", "file": str(tmp_path / "sae.npy")}}  # type: ignore[assignment]
    spec = spec_of(folder, model=model, pairs={"select": "list", "list": [["sae:7", "second:0"], ["sae:2", "sae:7"]]})
    store, neurons = DirectoryStore(tmp_path / "seen"), [Neuron("sae", 7), Neuron("second", 1), Neuron("sae", 2)]
    read(spec, store)

    evidence = known(store)
    found = read_responses(store, evidence, neurons)
    for place, row in ((0, 7), (2, 2)):
        values = (computed["first"] @ matrix[row]).reshape(len(found.numbers), -1)
        np.testing.assert_allclose(found.mean[:, place], values.mean(axis=1), rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(found.peak[:, place], values.max(axis=1), rtol=2e-3, atol=1e-4)
    assert [evidence.has(Neuron("sae", channel)) for channel in range(9)] == [n in (2, 7) for n in range(9)]
    assert not plan_of(spec, store).chunks
    fewer = spec_of(folder, model=model, pairs={"select": "list", "list": [["sae:2", "second:0"]]})
    assert not plan_of(fewer, store).chunks
    more = spec_of(folder, model=model, pairs={"select": "list", "list": [["sae:2", "sae:3"]]})
    assert plan_of(more, store).chunks
    np.save(tmp_path / "sae.npy", matrix[::-1])
    planned = [chunk.images for chunk in plan_of(spec, store).chunks]
    assert {images.layers for images in planned if images} == {("sae",)}


def test_large_and_small_activations_are_kept() -> None:
    """Half floats neither overflow nor vanish, because each photograph and layer has a power of two of its own."""
    values = np.array([[1e9, -2e9], [1e-9, 3e-9], [0, 0], [65504, 1]], np.float32)
    layer = LayerActivations(values, values[::-1].copy(), np.full(values.shape, 70_000))
    rows, digests = np.arange(4, dtype=np.int32), np.zeros(4, np.uint64)
    kept = unpack(pack(PartActivations(rows, digests, {"x": layer})), "here", ["x"], ["x"]).layers["x"]
    np.testing.assert_allclose(kept.mean[:2], values[:2], rtol=1e-3)
    np.testing.assert_allclose(kept.mean[2:], values[2:], rtol=1e-3, atol=0.1)
    np.testing.assert_array_equal(kept.position, layer.position)


def test_what_cannot_be_compared_is_refused_in_one_line(folder: Path, tmp_path: Path, isthmus: Isthmus) -> None:
    """No folder, no files, no key images, a secret in the address; nothing is written."""
    (tmp_path / "empty").mkdir()
    cases: list[tuple[Any, str]] = [
        (
            {"source": "nowhere"},
            "images.source: expected a folder, s3://bucket/prefix, or a tar file, there is none at",
        ),
        ({"source": "empty"}, "images.source empty: expected photographs, found no files"),
        ({"source": "https://user:pass@host/x.tar"}, "images.source: expected an address without user, password"),
        ({"source": "empty", "labels": "files"}, "images.labels: expected 'folders'"),
        (None, "expected a spec with the key images"),
    ]
    for images, message in cases:
        spec = {"name": "seen", "pairs": {"select": "list", "list": [["stem:0", "stem:1"]]}, "images": images}
        Path("spec.yaml").write_text(str(spec).replace("None", "null").replace("'", '"'))
        said = isthmus("images", "spec.yaml")
        assert (said.code, said.out) == (2, ""), images
        assert message in said.err
        assert len(said.err.splitlines()) == 1
    assert not Path("atlases").exists()


def test_the_published_spec_has_no_folder_of_photographs(folder: Path) -> None:
    """The name of the folder is enough; the rest is a fact about the machine."""
    assert public_spec(spec_of(folder).model_dump(mode="json"))["images"]["source"] == "photos"
