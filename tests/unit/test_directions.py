"""Directions from good files: their numbers, their digests, and the specs that name them."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Isthmus
from numpy.typing import NDArray
from weights_files import safetensors_file

from core.errors import IsthmusError, ModelError, SpecError
from core.models.directions import Directions
from core.models.model import Model
from core.models.models import digest, load, pinned
from core.spec import DerivedSpec, ModelSpec
from core.spec_file import parse_spec, read_spec

CHANNELS = 32  # of the layer stem
MATRIX: NDArray[Any] = np.random.default_rng(1).normal(size=(5, CHANNELS)).astype(np.float32)
BIAS: NDArray[Any] = np.arange(5, dtype=np.float32) - 2
PAIRS = {"select": "all", "neurons": ["d:0-4"]}


def bfloat16(values: NDArray[Any]) -> NDArray[Any]:
    return (values.view("<u4") >> 16).astype("<u2")


def spec_of(path: Path, **keys: Any) -> ModelSpec:
    return ModelSpec.model_validate({"derived": {"d": {"of": "stem", "file": str(path), **keys}}})


def directions(path: Path, **keys: Any) -> Directions:
    return load(spec_of(path, **keys)).derived["d"]


def saved(path: Path, values: NDArray[Any] = MATRIX) -> Path:
    np.save(path, values)
    return path


def all_rows(found: Directions) -> NDArray[Any]:
    rows = found.rows(range(len(found)))
    np.testing.assert_array_equal(np.concatenate(list(found.blocks())), rows)
    return rows


@pytest.mark.parametrize(
    "stored",
    [
        MATRIX,
        np.asfortranarray(MATRIX),
        MATRIX.astype(">f4"),
        MATRIX.astype("<f2"),
        MATRIX.astype("<f8"),
        MATRIX.T,
        np.ascontiguousarray(MATRIX.T),
    ],
    ids=["rows", "columns first", "big-endian", "half", "double", "a view", "columns"],
)
@pytest.mark.parametrize("kind", ["npy", "npz", "packed npz"])
def test_the_numbers_of_a_matrix_are_read_as_float32(tmp_path: Path, stored: NDArray[Any], kind: str) -> None:
    """From any order and any type of floats, as they are in a file or compressed; without bias, the last one is 0."""
    path = tmp_path / "d.bin"
    with path.open("wb") as file:
        if kind == "npy":
            np.save(file, stored)
        else:
            (np.savez if kind == "npz" else np.savez_compressed)(file, anything=stored)

    rows = all_rows(directions(path, transposed=len(stored) == CHANNELS))

    expected = stored.T if len(stored) == CHANNELS else stored
    np.testing.assert_array_equal(rows[:, :-1], expected.astype(np.float32))
    np.testing.assert_array_equal(rows[:, -1], 0)


@pytest.mark.parametrize(
    "convert",
    [np.asarray, lambda t: t.astype("<f8"), lambda t: t.astype("<f2"), bfloat16],
    ids=["F32", "F64", "F16", "BF16"],
)
def test_tensors_are_chosen_by_name(tmp_path: Path, convert: Any) -> None:
    """`names` is the array with the directions, `bias` that with a number for each; of two, one may be left out."""
    path = tmp_path / "sae.safetensors"
    arrays = {"b": BIAS, "W": convert(MATRIX)}
    path.write_bytes(safetensors_file(arrays))
    left = all_rows(directions(path, bias="b"))
    path.write_bytes(safetensors_file({**arrays, "alive": np.ones(3, np.uint8)}))  # a type that directions cannot have
    named = all_rows(directions(path, bias="b", names="W"))

    np.testing.assert_array_equal(named, left)
    np.testing.assert_allclose(named[:, :-1], MATRIX, rtol=0.01, atol=1e-4)
    np.testing.assert_array_equal(named[:, -1], BIAS)
    if convert is np.asarray:
        np.testing.assert_array_equal(named[:, :-1], MATRIX)


def test_unit_divides_directions_and_their_biases_by_the_length(tmp_path: Path) -> None:
    """So an image that gives a direction and its bias the sum 0 still does."""
    np.savez(tmp_path / "d.npz", W=MATRIX, b=BIAS)

    rows = all_rows(directions(tmp_path / "d.npz", names="W", bias="b", unit=True))

    lengths = np.linalg.norm(MATRIX, axis=1)
    np.testing.assert_allclose(rows[:, :-1], MATRIX / lengths[:, None], rtol=1e-6)
    np.testing.assert_allclose(rows[:, -1], BIAS / lengths, rtol=1e-6)


def test_a_digest_is_that_of_the_used_numbers_of_a_row_and_of_the_layer(tmp_path: Path) -> None:
    """Another row, another kind of file and another order in it change nothing."""
    np.savez(tmp_path / "d.npz", W=MATRIX, b=0 * BIAS, c=BIAS)
    other = MATRIX.copy()
    other[1] += 1
    before = directions(saved(tmp_path / "before.npy"))
    after = directions(saved(tmp_path / "after.npy", other))
    double = directions(saved(tmp_path / "double.npy", MATRIX.T.astype("f8")), transposed=True)

    digests = [before.digest(number) for number in range(5)]
    assert len(set(digests)) == 5
    assert [after.digest(n) == digests[n] for n in range(5)] == [True, False, True, True, True]
    assert [double.digest(n) for n in range(5)] == digests
    assert directions(tmp_path / "d.npz", names="W", bias="b").digest(2) == digests[2]
    assert directions(tmp_path / "d.npz", names="W", bias="c").digest(1) != digests[1]
    assert directions(tmp_path / "before.npy", unit=True).digest(1) != digests[1]
    assert directions(tmp_path / "before.npy", of="stem_pre_relu").digest(1) != digests[1]


def test_a_large_matrix_stays_in_its_file(tmp_path: Path) -> None:
    """Of 100,000 directions, which take 13 MB, a process holds only those that it uses."""
    path = saved(tmp_path / "d.npy", np.ones((100_000, CHANNELS), np.float32))
    tracemalloc.start()

    found = directions(path)
    rows = found.rows([99_999, 3])

    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows.shape == (2, CHANNELS + 1)
    assert held < 1_000_000


def test_a_file_that_changes_while_it_is_used_is_noticed(tmp_path: Path) -> None:
    """Rows of two files under one digest would be wrong pictures. The next command reads the new file."""
    path = saved(tmp_path / "d.npy")
    before = directions(path)
    before.digest(0)
    saved(path, 2 * MATRIX[:4])

    with pytest.raises(ModelError, match=r"d\.npy: the file has changed since it was opened; start the command again"):
        before.rows([0])
    assert len(directions(path)) == 4


# Specs and models -----------------------------------------------------------------------------------------------------


def test_a_model_with_derived_layers_is_the_same_model(tmp_path: Path, model: Model) -> None:
    """Its digest, and so the keys of other pairs, are those of the network; its own layers are as they were."""
    derived = load(spec_of(saved(tmp_path / "d.npy")))

    assert digest(derived) == digest(model)
    assert {layer: n for layer, n in derived.layers.items() if layer != "d"} == model.layers
    assert list(derived.layers).index("d") == list(model.layers).index("stem") + 1
    assert derived.layers["d"] == 5
    assert derived.sizes(64)["d"] == (32, 32)


def test_whole_derived_layers_can_be_computed(tmp_path: Path) -> None:
    """At every position, an activation is the inner product with a direction, plus the bias."""
    np.savez(tmp_path / "d.npz", W=MATRIX, b=BIAS)
    derived = load(spec_of(tmp_path / "d.npz", names="W", bias="b"))
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)

    found = derived.activations(images, {"d", "stem"})

    expected = found["stem"].numpy() @ MATRIX.T + BIAS
    np.testing.assert_allclose(found["d"].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_a_worker_with_another_file_refuses_it(tmp_path: Path) -> None:
    """A plan has the sha256 of the file, so that another file at the same path, or none, is one clear line."""
    path = saved(tmp_path / "d.npy")
    planned = pinned(spec_of(path))
    assert pinned(planned) == planned
    assert len(load(planned).derived["d"]) == 5

    saved(path, MATRIX + 1)
    with pytest.raises(ModelError, match=r"d\.npy: expected a file with sha256 \w{64}, found \w{64}; give the right"):
        load(planned)
    path.unlink()
    with pytest.raises(
        ModelError, match=r"^model\.derived\.d\.file: expected a matrix of directions, there is no file"
    ):
        load(planned)


def test_a_relative_path_is_one_beside_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs; addresses and absolute paths stay as they are."""
    (tmp_path / "specs").mkdir()
    files = {"d": "d.npy", "e": str(tmp_path / "e.npy"), "f": "https://example.org/f.npy", "g": "~/g.npy"}
    derived = {name: {"of": "stem", "file": file, "sha256": "0" * 64} for name, file in files.items()}
    spec = {"name": "small", "model": {"derived": derived}, "pairs": PAIRS}
    (tmp_path / "specs/atlas.yaml").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)

    read = read_spec(Path("specs/atlas.yaml"))

    assert [each.file for each in (read.model.derived or {}).values()] == ["specs/d.npy", *list(files.values())[1:]]
    assert parse_spec(json.loads(read.to_json()), "stored") == read
    assert hash(read.model) == hash(parse_spec(json.loads(read.to_json()), "stored").model)


def test_other_files_may_be_in_the_folder_of_the_command_or_of_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model, the photographs and the labels; one in the folder where the command runs is taken first."""
    (tmp_path / "specs/photos").mkdir(parents=True)
    spec = {
        "name": "small",
        "model": {"name": "inception-v1", "file": "net.pb"},
        "pairs": PAIRS,
        "images": {"source": "photos"},
        "labels": "labels.csv",
    }
    (tmp_path / "specs/atlas.yaml").write_text(json.dumps(spec))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs/net.pb").touch()
    (tmp_path / "specs/labels.csv").touch()
    (tmp_path / "labels.csv").touch()

    read = read_spec(Path("specs/atlas.yaml"))

    assert read.images is not None
    assert (read.model.file, read.images.source, read.labels) == ("specs/net.pb", "specs/photos", "labels.csv")
    (tmp_path / "specs/net.pb").unlink()
    assert read_spec(Path("specs/atlas.yaml")).model.file == "net.pb"


@pytest.mark.parametrize(
    ("derived", "message"),
    [
        ({"a b": {}}, "model.derived: expected names of at most 100 letters, digits, '.', '_' and '-', a letter or "
                      "digit first, got 'a b' (and 2 more)"),
        ({"d": {"of": "stem"}}, "model.derived.d.file: missing; this key is required"),
        ({"d": {"of": "stem", "file": "d.npy", "unt": True}},
         "model.derived.d.unt: unknown key; did you mean 'unit'? "
         "(known: of, file, sha256, names, bias, transposed, unit)"),
        ({"d": 7}, "model.derived.d: expected a mapping, got 7"),
        ([7], "model.derived: expected a mapping, got [7]"),
        ({"d": {"of": "stem", "file": "d.npy", "unit": "yes"}},
         "model.derived.d.unit: expected true or false, got 'yes'"),
        ({"d": {"of": "stem", "file": "https://me:word@example.org/d.npy"}},
         "model.derived.d.file: expected an address without user, password and query, which would be published; give "
         "user and password by ~/.netrc, take an s3:// address with boto3's credentials, or give a file's path"),
        ({"d": {"of": "stem", "file": "https://example.org/d.npy"}},
         "model.derived.d.sha256: missing; a file that is downloaded needs its sha256"),
        ({"d": {"of": "stem", "file": "ftp://example.org/d.npy"}},
         "model.derived.d.file: expected a path, https:// or s3://, got 'ftp://example.org/d.npy'"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_derived_layer_is_reported_in_one_line(derived: Any, message: str) -> None:
    """The line has the key and what was expected."""
    with pytest.raises(SpecError) as caught:
        parse_spec({"name": "small", "model": {"derived": derived}, "pairs": PAIRS}, "atlas.yaml")

    assert str(caught.value) == f"atlas.yaml: {message}"


@pytest.mark.parametrize(
    ("name", "of", "message"),
    [
        ("d", "stam", "model.derived.d.of: expected a layer of efficientnet-lite0, got 'stam'; similar: stem "),
        ("d", "e", "model.derived.d.of: expected a layer of efficientnet-lite0, e is a derived layer; multiply "),
        ("block5", "stem", "model.derived.block5: expected a name that no layer of efficientnet-lite0 has, "),
    ],
)
def test_a_derived_layer_has_a_name_of_its_own_and_is_of_a_layer_of_the_network(
    tmp_path: Path, name: str, of: str, message: str
) -> None:
    """It is neither of itself nor of another derived layer."""
    path = saved(tmp_path / "d.npy")
    derived = {name: DerivedSpec(of=of, file=str(path)), "e": DerivedSpec(of="stem", file=str(path))}
    with pytest.raises(IsthmusError) as caught:
        load(ModelSpec.model_validate({"derived": derived}))

    assert str(caught.value).startswith(message)


def test_an_empty_section_is_none() -> None:
    """So it changes nothing of a spec."""
    assert ModelSpec.model_validate({"derived": {}}) == ModelSpec()


def test_the_command_lists_derived_layers_behind_the_layers_that_they_are_of(isthmus: Isthmus, tmp_path: Path) -> None:
    """A spec file stands for the model in it, and no option may be given beside it."""
    saved(tmp_path / "d.npy")
    model = {"derived": {"d": {"of": "stem", "file": "d.npy"}}}
    (tmp_path / "atlas.yaml").write_text(json.dumps({"name": "small", "model": model, "pairs": PAIRS}))

    listed = isthmus("models", "layers", "atlas.yaml")
    refused = isthmus("models", "layers", "atlas.yaml", "--sha256", "0" * 64)

    lines = listed.out.splitlines()
    stem = next(number for number, line in enumerate(lines) if line.startswith("stem "))
    assert lines[stem + 1].split() == "d 5 channels 64x64 directions of stem grid align nearest".split()
    assert refused.code == 2
    assert refused.err == (
        "isthmus: atlas.yaml: expected a spec file alone, got sha256 beside it; write model.sha256 into the spec\n"
    )
