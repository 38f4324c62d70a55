"""Reading specs: valid specs are read, and every mistake is reported in one line."""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Callable
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.errors import SpecError
from core.spec import Alignment, AllPairs, AtlasSpec, Compute, ListedPairs, RenderSettings
from core.spec_file import parse_settings, parse_spec
from core.spec_file import read_spec as read

QUICKSTART = Path(__file__).parents[2] / "deploy" / "atlases" / "quickstart.yaml"
MINIMAL: dict[str, Any] = {"name": "small", "pairs": {"select": "all", "neurons": ["block5:0-3"]}}
NAME = "at most 100 letters, digits, '.', '_' and '-', a letter or digit first"
SELECTIONS = "expected one of list, all, random, nearest"

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a spec file and returns its path."""

    def write_one(content: str | bytes) -> Path:
        path = tmp_path / "atlas.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_one


def refusal(path: Path) -> str:
    """Return the message that a spec file is refused with, without the file that it begins with."""
    with pytest.raises(SpecError) as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).removeprefix(": ")


def test_the_shipped_spec_reads() -> None:
    """The quickstart lists sixteen pairs and sets frames, size and steps."""
    spec = read(QUICKSTART)

    assert spec.name == "quickstart"
    assert spec.uri == "atlases/quickstart"
    assert isinstance(spec.pairs, ListedPairs)
    assert len(spec.pairs.list) == 16
    assert (spec.render.frames, spec.render.size_px, spec.render.steps) == (6, 128, 64)


def test_name_and_pairs_are_enough() -> None:
    """Everything else has a default."""
    spec = parse_spec(MINIMAL, "here")

    assert spec.pairs == AllPairs(select="all", neurons=("block5:0-3",))
    assert (spec.output, spec.model.name) == ("atlases", "efficientnet-lite0")
    assert spec.render == RenderSettings(
        frames=6,
        size_px=128,
        schedule="fast",
        steps=64,
        seed=0,
        learning_rate=0.05,
        sd=0.03,
        mix="balanced",
        sharing=True,
        key_frames="symmetric",
        transforms="standard",
        redirected_updates=16,
        alignment=Alignment(scale="relative", layers=None, weight=0.3, decay=5.0),
    )
    assert spec.compute == Compute(engine="local", processes=None, chunk_pairs=None)


@pytest.mark.parametrize(
    ("pairs", "more"),
    [
        ({"select": "list", "list": [["block5:1", "block7:2"]]}, {}),
        ({"select": "random", "neurons": ["block5:0-3"], "n": 2}, {"seed": 0}),
        ({"select": "nearest", "neurons": ["block5:0-3", "stem:1"]}, {"k": 4, "connect": False, "by": "weights"}),
    ],
)
def test_select_names_the_kind_of_selection(pairs: dict[str, Any], more: dict[str, Any]) -> None:
    """Each selection has its own keys and defaults for some of them."""
    spec = parse_spec({"name": "small", "pairs": pairs}, "here")

    assert spec.model_dump(mode="json")["pairs"] == pairs | more


def test_a_spec_survives_json() -> None:
    """A flow receives its spec as JSON, which reads as the same spec."""
    spec = read(QUICKSTART)

    assert AtlasSpec.model_validate_json(spec.model_dump_json()) == spec
    assert parse_spec(spec.model_dump(mode="json"), "here") == spec


@pytest.mark.parametrize("part", ["render", "compute", "pairs"])
def test_a_spec_cannot_be_changed(part: str) -> None:
    """Neither a spec nor a part of it accepts another value, and settings can be keys of a dictionary."""
    spec = parse_spec(MINIMAL, "here")

    with pytest.raises(ValidationError, match="frozen"):
        setattr(spec, part, getattr(spec, part))
    with pytest.raises(ValidationError, match="frozen"):
        setattr(getattr(spec, part), {"render": "frames", "compute": "processes", "pairs": "neurons"}[part], 7)
    assert {spec.render: 1}[RenderSettings()] == 1


@pytest.mark.parametrize(
    ("output", "uri"), [("atlases", "atlases/small"), ("/data/", "/data/small"), ("s3://bucket/", "s3://bucket/small")]
)
def test_an_atlas_lies_in_the_output_under_its_name(output: str, uri: str) -> None:
    """Output and name are joined by one slash."""
    assert parse_spec(MINIMAL | {"output": output}, "here").uri == uri


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rendr": {}}, "rendr: unknown key; did you mean 'render'? "
         "(known: name, output, model, pairs, land, images, strip, render, compute, storage, labels, site)"),
        (
            {"zzz": 1},
            "zzz: unknown key "
            "(known: name, output, model, pairs, land, images, strip, render, compute, storage, labels, site)",
        ),
        (
            {"": 1},
            "'': unknown key "
            "(known: name, output, model, pairs, land, images, strip, render, compute, storage, labels, site)",
        ),
        (
            {"a\nb": 1},
            "'a\\nb': unknown key "
            "(known: name, output, model, pairs, land, images, strip, render, compute, storage, labels, site)",
        ),
        ({7: 1}, "7: expected keys that are text, got 7"),
        ({"name": None}, "name: expected text, got nothing"),
        ({"name": 123}, "name: expected text, got 123"),
        ({"name": date(2020, 1, 2)}, "name: expected text, got datetime.date(2020, 1, 2)"),
        ({"name": ""}, f"name: expected {NAME}, got ''"),
        ({"name": "a/b"}, f"name: expected {NAME}, got 'a/b'"),
        ({"name": ".."}, f"name: expected {NAME}, got '..'"),
        ({"name": "../x"}, f"name: expected {NAME}, got '../x'"),
        ({"name": "a\n"}, f"name: expected {NAME}, got 'a\\n'"),
        ({"name": "a" * 101}, f"name: expected {NAME}, got '{'a' * 27}...{'a' * 28}'"),
        ({"output": ""}, "output: expected text of a character or more, without control characters, got ''"),
        ({"output": "a\0b"}, "output: expected text of a character or more, without control characters, got 'a\\x00b'"),
        ({"output": None}, "output: expected text, got nothing"),
        ({"model": ["a"]}, "model: expected the name of a model or a mapping, got ['a']"),
        ({"render": None}, "render: expected a mapping, got nothing"),
        ({"render": [1]}, "render: expected a mapping, got [1]"),
        ({"compute": {"engine": "dask"}}, "compute.engine: expected 'local', 'ray' or 'work-pool', got 'dask'"),
        ({"compute": {"workers": 3}}, "compute.workers: no use for this key with engine local; "
         "it belongs to work-pool"),
        ({"compute": {"engine": "work-pool", "ray_address": "ray://a"}}, "compute.ray_address: no use for this key "
         "with engine work-pool; it belongs to ray"),
        ({"compute": {"engine": "work-pool", "deployment": "gpu"}}, "compute.deployment: expected the name of a flow "
         "and of its deployment, such as render-shard/gpu, got 'gpu'"),
        ({"compute": {"pack": 0}}, "compute.pack: expected auto or a whole number from 1 to 1024, got 0"),
        ({"compute": {"pack": "many"}}, "compute.pack: expected auto or a whole number from 1 to 1024, got 'many'"),
        ({"compute": {"procesess": 2}}, "compute.procesess: unknown key; did you mean 'processes'? "
         "(known: engine, processes, batch_pairs, chunk_pairs, ray_address, deployment, workers, shard_minutes, "
         "publish_minutes, stop_after_failures)"),
        ({"compute": {"processes": 0}}, "compute.processes: expected greater than or equal to 1, got 0"),
        ({"compute": {"processes": True}}, "compute.processes: expected a whole number, got True"),
        ({"compute": {"chunk_pairs": 10_001}}, "compute.chunk_pairs: expected less than or equal to 10000, got 10001"),
        ({"storage": {"secret_key": "hush"}}, "storage.secret_key: unknown key "
         "(known: endpoint_url, region, retries, checksums)"),
        ({"storage": {"endpoint_url": "https://me:hush@host"}}, "storage.endpoint_url: expected an address without "
         "user and password; give credentials by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"),
        ({"storage": {"endpoint_url": "host:9000"}}, "storage.endpoint_url: expected an address such as "
         "https://store.example.org, got 'host:9000'"),
        ({"storage": {"endpoint_url": "https://host?x=1"}}, "storage.endpoint_url: expected an address such as "
         "https://store.example.org, got 'https://host?...'"),
        ({"storage": {"endpoint_url": 9000}}, "storage.endpoint_url: expected text, got 9000"),
        ({"storage": {"region": "eu west"}}, f"storage.region: expected {NAME}, got 'eu west'"),
        ({"storage": {"retries": "many"}}, "storage.retries: expected 'standard' or 'adaptive', got 'many'"),
        ({"storage": {"checksums": True}}, "storage.checksums: expected 'when_supported' or 'when_required', got True"),
    ],
)  # fmt: skip
def test_the_message_for_a_wrong_key_or_value_says_what_is_expected(change: dict[Any, Any], message: str) -> None:
    """The message has the source, the field, what was expected and what was found."""
    with pytest.raises(SpecError) as caught:
        parse_spec(MINIMAL | change, "atlas.yaml")

    assert str(caught.value) == f"atlas.yaml: {message}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"framse": 3}, "framse: unknown key; did you mean 'frames'? "
         f"(known: {', '.join(RenderSettings.model_fields)})"),
        ({"frames": 1}, "frames: expected greater than or equal to 2, got 1"),
        ({"frames": "six"}, "frames: expected a whole number, got 'six'"),
        ({"frames": 6.5}, "frames: expected a whole number, got 6.5"),
        ({"frames": True}, "frames: expected a whole number, got True"),
        ({"frames": 10**50}, "frames: expected less than or equal to 64, got 1" + "0" * 50),
        ({"frames": 1 << 20_000}, "frames: expected less than or equal to 64, got a number with thousands of digits"),
        ({"size_px": 31}, "size_px: expected greater than or equal to 32, got 31"),
        ({"size_px": 150.5}, "size_px: expected a whole number, got 150.5"),
        ({"steps": 0}, "steps: expected greater than or equal to 1, got 0"),
        ({"checkpoints": [8, "16"]}, "checkpoints.1: expected a whole number, got '16'"),
        ({"checkpoints": [0]}, "checkpoints.0: expected greater than or equal to 1, got 0"),
        ({"checkpoints": 8}, "checkpoints: expected a list, got 8"),
        ({"checkpoints": list(range(1, 18))}, "checkpoints: expected at most 16 entries, got [1, 2, 3, 4, 5, 6, ...]"),
        ({"seed": 2**32}, "seed: expected less than 4294967296, got 4294967296"),
        ({"seed": -1}, "seed: expected greater than or equal to 0, got -1"),
        ({"learning_rate": True}, "learning_rate: expected a number, got True"),
        ({"learning_rate": float("inf")}, "learning_rate: expected less than or equal to 10, got inf"),
        ({"sd": float("nan")}, "sd: expected less than or equal to 10, got nan"),
        ({"sd": float("-inf")}, "sd: expected greater than 0, got -inf"),
        ({"sd": "thin"}, "sd: expected a number, got 'thin'"),
        ({"sd": {}}, "sd: expected a number, got {}"),
        ({"sharing": 1}, "sharing: expected true or false, got 1"),
        ({"sharing": "yes"}, "sharing: expected true or false, got 'yes'"),
        ({"key_frames": "lucifer"}, "key_frames: expected 'symmetric' or 'lucid', got 'lucifer'"),
        ({"alignment": None}, "alignment: expected a mapping, got nothing"),
        ({"alignment": {"wieght": 1}}, "alignment.wieght: unknown key; did you mean 'weight'? "
         "(known: scale, layers, weight, decay)"),
        ({"alignment": {"weight": float("nan")}}, "alignment.weight: expected less than or equal to 1000000, got nan"),
        ({"alignment": {"layers": "block5"}}, "alignment.layers: expected a list, got 'block5'"),
        ({"alignment": {"layers": ["block5", 7]}}, "alignment.layers.1: expected text, got 7"),
    ],
)  # fmt: skip
def test_the_message_for_a_wrong_setting_says_what_is_expected(settings: dict[str, Any], message: str) -> None:
    """Settings have the same messages within a spec and alone."""
    with pytest.raises(SpecError) as of_spec:
        parse_spec(MINIMAL | {"render": settings}, "atlas.yaml")
    with pytest.raises(SpecError) as alone:
        parse_settings(settings, "preview")

    assert str(of_spec.value) == f"atlas.yaml: render.{message}"
    assert str(alone.value) == f"preview: {message}"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (None, "pairs: missing; this key is required, unless there is land"),
        ("all", "pairs: expected a mapping, got 'all'"),
        ([], "pairs: expected a mapping, got []"),
        ({"neurons": ["a:1"]}, f"pairs.select: {SELECTIONS}, got nothing"),
        ({"select": "nonsense"}, f"pairs.select: {SELECTIONS}, got 'nonsense'"),
        ({"select": ["all"]}, f"pairs.select: {SELECTIONS}, got ['all']"),
        ({"select": "all"}, "pairs.neurons: missing; this key is required"),
        ({"select": "all", "neurons": "a:1"}, "pairs.neurons: expected a list, got 'a:1'"),
        ({"select": "all", "neurons": []}, "pairs.neurons: expected at least one entry, got []"),
        ({"select": "all", "neurons": ["a:1"], "nuerons": []},
         "pairs.nuerons: unknown key; did you mean 'neurons'? (known: select, neurons)"),
        ({"select": "random", "neurons": ["a:1"]}, "pairs.n: missing; this key is required"),
        ({"select": "random", "neurons": ["a:1"], "n": 0}, "pairs.n: expected greater than or equal to 1, got 0"),
        ({"select": "random", "neurons": ["a:1"], "n": 3.5}, "pairs.n: expected a whole number, got 3.5"),
        ({"select": "nearest", "neurons": ["a:1"], "k": True}, "pairs.k: expected a whole number, got True"),
        ({"select": "list", "list": None}, "pairs.list: expected a list, got nothing"),
        ({"select": "list", "list": []}, "pairs.list: expected at least one entry, got []"),
        ({"select": "list", "list": [["a:1", "b:2"], ["a:1", "b:2", "c:3"]]},
         "pairs.list.1: expected two neurons, got ['a:1', 'b:2', 'c:3']"),
        ({"select": "list", "list": [["a:1"]]}, "pairs.list.0: expected two neurons, got ['a:1']"),
        ({"select": "list", "list": [[]]}, "pairs.list.0: expected two neurons, got []"),
        ({"select": "list", "list": ["a:1"]}, "pairs.list.0: expected two neurons, got 'a:1'"),
        ({"select": "list", "list": [None]}, "pairs.list.0: expected two neurons, got nothing"),
        ({"select": "list", "list": [["a:1", 17]]}, "pairs.list.0.1: expected text, got 17"),
    ],
)  # fmt: skip
def test_the_message_for_a_wrong_selection_says_what_is_expected(pairs: Any, message: str) -> None:
    """The field is a path of keys and positions in the file, without the names that pydantic adds."""
    with pytest.raises(SpecError) as caught:
        parse_spec({"name": "small", "pairs": pairs}, "atlas.yaml")

    assert str(caught.value) == f"atlas.yaml: {message}"


def test_a_checkpoint_after_the_last_step_is_refused() -> None:
    """The strip after the last step is kept anyway, so a checkpoint there or later is a mistake."""
    settings = {"steps": 64, "checkpoints": [8, 64]}
    message = "expected checkpoints below steps (64), which are kept anyway, got {'checkpoints': [8, 64], 'steps': 64}"

    with pytest.raises(SpecError) as of_spec:
        parse_spec(MINIMAL | {"render": settings}, "atlas.yaml")
    with pytest.raises(SpecError) as alone:
        parse_settings(settings, "preview")

    assert str(of_spec.value) == f"atlas.yaml: render: {message}"
    assert str(alone.value) == f"preview: {message}"


def test_checkpoints_are_put_in_order() -> None:
    """Settings are equal if they have the same checkpoints, in any order and repeated or not."""
    assert parse_settings({"checkpoints": [32, 8, 32]}, "here") == RenderSettings(checkpoints=(8, 32))


def test_the_first_of_several_mistakes_is_reported_and_the_others_are_counted() -> None:
    """One line names one mistake; a consequence of a mistake is not counted as another."""
    with pytest.raises(SpecError) as caught:
        parse_spec({"pairs": {"select": "list", "list": [["a:1"]]}, "render": {"frames": 1, "steps": 0}}, "here")

    assert str(caught.value) == "here: name: missing; this key is required (and 3 more)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pairs: {select: all, neurons: ['a:1']}\n", "name: missing; this key is required"),
        ("name: small\n", "pairs: missing; this key is required, unless there is land"),
        ("", "expected a mapping with name and pairs, got nothing"),
        ("# only words\n", "expected a mapping with name and pairs, got nothing"),
        ("- a\n- b\n", "expected a mapping with name and pairs, got ['a', 'b']"),
        ("hello\n", "expected a mapping with name and pairs, got 'hello'"),
        ("name: small\npairs: {select: [\n", " line 3 column 1: expected YAML, expected the node content, "
         "but found '<stream end>'"),
        ("name: a\n\tpairs: b\n", " line 2 column 1: expected YAML, found character '\\t' that cannot start any token"),
        ("a: b: c\n", " line 1 column 5: expected YAML, mapping values are not allowed here"),
        ("name: *who\n", " line 1 column 7: expected YAML, found an alias, which a spec may not have"),
        ("name: a\n---\nname: b\n", " line 2 column 1: expected YAML, but found another document"),
        ("name: 2020-02-30\n", " line 1 column 7: expected YAML, cannot read '2020-02-30'"),
        ("seed: !!int few\n", " line 1 column 7: expected YAML, found 'few'; write a number in decimal, and text in "
         "quotes"),
        ("sharing: !!bool few\n", " line 1 column 10: expected YAML, cannot read 'few'"),
        ("seed: " + "9" * 5000, f" line 1 column 7: expected YAML, cannot read '{'9' * 27}...{'9' * 28}'"),
        ("[" * 3000, "expected a spec, got YAML that is nested too deeply"),
        ("&a [*a]", " line 1 column 5: expected YAML, found an alias, which a spec may not have"),
    ],
)  # fmt: skip
def test_the_message_for_a_file_that_is_not_a_spec_has_the_position(write: Write, text: str, message: str) -> None:
    """The message has line and column for YAML that cannot be read, and the value for YAML that is not a spec."""
    assert refusal(write(text)) == message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), "expected a YAML file with an atlas spec, it is not UTF-8 text"),
        (b"\x89PNG\r\n\x1a\n", "expected a YAML file with an atlas spec, it is not UTF-8 text"),
        (b"\x01\x02abc", "expected YAML, special characters are not allowed"),
    ],
)
def test_a_file_that_is_not_text_is_refused(write: Write, content: bytes, message: str) -> None:
    """A file of arbitrary bytes is refused in one line."""
    assert refusal(write(content)) == message


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    """The message has the operating system's reason."""
    assert refusal(tmp_path) == "expected a YAML file with an atlas spec, Is a directory"
    assert refusal(tmp_path / "no.yaml") == "expected a YAML file with an atlas spec, No such file or directory"


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_what_may_never_end_is_refused_and_not_read(tmp_path: Path, kind: str) -> None:
    """Reading a pipe would wait for a writer; /dev/zero has no end."""
    path = tmp_path / kind
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        path = Path("/dev/zero")

    assert refusal(path) == "expected a YAML file with an atlas spec, it is a pipe, a socket or a device"


def test_a_tag_runs_nothing(write: Write, tmp_path: Path) -> None:
    """A spec is untrusted input, so YAML tags that call Python are refused."""
    trace = tmp_path / "trace"

    message = refusal(write(f"name: !!python/object/apply:os.system ['touch {trace}']\n"))

    assert message.startswith(" line 1 column 7: expected YAML, could not determine a constructor for the tag")
    assert not trace.exists()


def test_a_few_bytes_cannot_become_a_huge_spec(write: Write) -> None:
    """Aliases are refused, because aliases of aliases make billions of entries from a few lines."""
    levels = [f"{level}: &{level} [{', '.join(['*' + below] * 9)}]" for below, level in pairwise("abcdefghijklmnopq")]

    message = refusal(write("\n".join(["a: &a [x]", *levels, "pairs: {select: *q}"])))

    assert message == " line 2 column 8: expected YAML, found an alias, which a spec may not have"


@pytest.mark.parametrize(
    ("text", "position", "key", "first"),
    [
        ("name: a\nname: b\n", "line 2 column 1", "name", 1),
        ("name: a\nrender: {frames: 4}\n\nrender: {seed: 3}\n", "line 4 column 1", "render", 2),
        ("render:\n  frames: 4\n  seed: 3\n  frames: 4\n", "line 4 column 3", "frames", 2),
        ("render: {seed: 1, alignment: {decay: 2, 'decay': 3}}\n", "line 1 column 41", "decay", 1),
        ('{"name": "a", "name": "b"}', "line 1 column 15", "name", 1),
        ("x: [{y: 1,\n y: 2}]\n", "line 2 column 2", "y", 1),
    ],
)
def test_a_key_that_occurs_twice_is_refused(write: Write, text: str, position: str, key: str, first: int) -> None:
    """The message has the lines of both; neither value is dropped without a word."""
    message = refusal(write(text))

    problem = f"found the key '{key}' twice, also on line {first}; remove one of the two"
    assert message == f" {position}: expected YAML, {problem}"


@pytest.mark.parametrize("text", "010 -010 00 01.5 2:08 1:30.5 1_0 1_0.5 0x10 0b11".split())
def test_a_number_that_readers_of_yaml_disagree_about_is_refused(write: Write, text: str) -> None:
    """YAML 1.1 reads 010 as 8 and 2:08 as 128. A number in a spec is decimal; text that looks like one is quoted."""
    message = refusal(write(f"name: small\nrender: {{seed: {text}}}\n"))

    problem = f"found '{text}'; write a number in decimal, and text in quotes"
    assert message == f" line 2 column 16: expected YAML, {problem}"


@pytest.mark.parametrize("text", "08 0o10 0x 1e 1,5".split())
def test_text_that_is_almost_a_number_is_no_number(write: Write, text: str) -> None:
    """YAML reads it as text, and a whole number is expected."""
    message = refusal(write(f"name: small\npairs: {{select: all, neurons: ['a:1']}}\nrender:\n  seed: {text}\n"))

    assert message == f"render.seed: expected a whole number, got '{text}'"


def test_decimal_numbers_of_every_notation_are_read(write: Write) -> None:
    """A sign, a fraction and an exponent are allowed; a neuron's name in quotes is text."""
    spec = read(
        write(
            "name: small\npairs: {select: list, list: [['12:08', '12:3']]}\n"
            "render: {seed: +7, sd: .5, learning_rate: 1.5E-1, alignment: {decay: 6., weight: 0}}\n"
        )
    )

    render = spec.render
    assert (render.seed, render.sd, render.learning_rate, render.alignment.decay, render.alignment.weight) == (
        7, 0.5, 0.15, 6, 0,
    )  # fmt: skip


def test_a_number_may_be_written_with_an_exponent(write: Write) -> None:
    """1e-3 is a number in a spec, although YAML reads it as text."""
    spec = read(write("name: small\npairs: {select: all, neurons: ['block5:0-3']}\nrender: {sd: 1e-3}\n"))

    assert spec.render.sd == 0.001


SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**400), 10**400) | st.floats() | st.dates()
    | st.text() | st.binary() | st.sampled_from(["all", "list", "random", "nearest", "block5:1", "block5:0-3"])
)  # fmt: skip
KEYS = st.sampled_from(
    [
        "name",
        "output",
        "pairs",
        "select",
        "list",
        "neurons",
        "n",
        "k",
        "seed",
        "render",
        "alignment",
        "layers",
        "compute",
    ]
)
DATA = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.text(max_size=8) | st.integers() | st.none(), inner, max_size=5)
    ),
    max_leaves=12,
)


def accept_or_refuse(parse: Callable[[], AtlasSpec]) -> None:
    """Make sure that parsing returns a spec or raises an error of one line."""
    try:
        spec = parse()
    except SpecError as error:
        message = str(error)
    else:
        message = "accepted"
        assert parse_spec(spec.model_dump(mode="json"), "here") == spec
    assert message.isprintable()
    assert len(message) < 1000


@settings(deadline=None, max_examples=150)
@given(DATA)
def test_all_data_that_yaml_can_hold_is_accepted_or_refused_in_one_line(data: Any) -> None:
    """Any data gives a spec or a SpecError."""
    accept_or_refuse(lambda: parse_spec(data, "here"))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(["name", "output", "model", "pairs", "render", "compute"]), DATA)
def test_all_data_at_one_key_is_accepted_or_refused_in_one_line(key: str, data: Any) -> None:
    """A spec with one arbitrary value gives a spec or a SpecError."""
    accept_or_refuse(lambda: parse_spec(MINIMAL | {key: data}, "here"))


@settings(deadline=None, max_examples=150)
@given(st.text() | st.text("{}[]:,-?&*!|>'\"%@`#\n\t 0123456789.eabn_~<=", max_size=40) | DATA.map(yaml.safe_dump))
def test_all_text_in_a_file_is_accepted_or_refused_in_one_line(text: str) -> None:
    """Any text gives a spec or a SpecError."""
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        Path(file.name).write_bytes(text.encode("utf-8", "surrogatepass"))
        accept_or_refuse(lambda: read(Path(file.name)))


@pytest.mark.parametrize("changed", [{"pack": 2}, {"batch_pairs": 2}])
@pytest.mark.filterwarnings("ignore::core.spec.RenamedKeyWarning")
def test_the_old_name_of_a_key_has_the_effect_of_the_new_one(changed: dict[str, Any]) -> None:
    """`pack` sets `batch_pairs`, for readers of specs and for those who check parameters by the schema alone."""
    assert parse_spec(MINIMAL | {"compute": changed}, "here").compute.batch_pairs == 2
    keys = AtlasSpec.model_json_schema()["$defs"]["Compute"]["properties"]
    assert set(changed) <= set(keys)


@pytest.mark.parametrize("engine", ["local", "ray", "work-pool"])
def test_a_stored_spec_can_be_read_again(engine: str) -> None:
    """Keys that a spec leaves out are stored as null, and null means left out."""
    spec = parse_spec(MINIMAL | {"compute": {"engine": engine}}, "here")
    stored = json.loads(spec.to_json())

    assert {stored["compute"][key] for key in ("deployment", "workers", "shard_minutes", "ray_address")} == {None}
    assert AtlasSpec.model_validate(stored) == spec
    assert spec.compute.shard_deployment == "render-shard/gpu"
    assert (spec.compute.shards_in_flight, spec.compute.shard_seconds) == (4, 600)


def fields_of_the_form() -> dict[str, dict[str, Any]]:
    """Return the schema of every field by section and name; a field that may have several types has several entries."""
    schema = AtlasSpec.model_json_schema()
    found = {}
    for section, part in {**schema["$defs"], "AtlasSpec": schema}.items():
        for name, field in part["properties"].items():
            for number, choice in enumerate(field.get("anyOf", [field])):
                found[f"{section}.{name} {number}"] = choice
                found[f"{section}.{name} {number} items"] = choice.get("items", {})
    return found


def test_the_schema_has_only_words_that_forms_understand() -> None:
    """Every number has a minimum and a maximum, and a field of one value shows this value."""
    fields = fields_of_the_form()

    assert not [name for name, field in fields.items() if {"const", "oneOf", "prefixItems", "ge", "le"} & set(field)]
    numbers = {name: field for name, field in fields.items() if field.get("type") in ("integer", "number")}
    assert numbers["RenderSettings.learning_rate 0"]["exclusiveMinimum"] == 0
    unlimited = [name for name, field in numbers.items() if not {"minimum", "maximum"} <= set(field)]
    assert unlimited == ["RenderSettings.checkpoints 0 items"]  # they are below steps
    assert numbers["RenderSettings.seed 0"]["maximum"] == 2**32 - 1
    assert numbers["Compute.shard_minutes 0"]["maximum"] == 600
    assert fields["ModelSpec.sha256 0"]["pattern"] == "^[0-9a-fA-F]{64}$"
    select = fields["ListedPairs.select 0"]
    assert (select["type"], select["enum"], select["default"]) == ("string", ["list"], "list")


def test_a_form_that_fills_in_defaults_sends_no_default_that_depends_on_another_field() -> None:
    """With schedule: plain and every other default of the schema, updates and start values are those of plain.

    With scale: lucid and every other default, the weight of alignment is that of this scale.
    """
    schema = AtlasSpec.model_json_schema()
    filled = {
        name: field["default"]
        for name, field in schema["$defs"]["RenderSettings"]["properties"].items()
        if "default" in field
    }

    assert RenderSettings.model_validate(filled) == RenderSettings()
    plain = RenderSettings.model_validate(filled | {"schedule": "plain"})
    assert (plain.steps, plain.sd) == (256, 0.01)
    alignment = schema["$defs"]["Alignment"]["properties"]
    filled_alignment = {name: field["default"] for name, field in alignment.items() if "default" in field}
    assert Alignment.model_validate(filled_alignment | {"scale": "lucid"}).weight == 0.1
    assert schema["properties"]["render"]["default"] == filled
    assert filled["alignment"] == filled_alignment
