"""The command line, called as its installed script calls it: its output, messages and exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus
from sample_records import RECORDS, record_of

from core.atlas.records import to_ndjson
from core.machine import device
from core.machine.environment import CACHE

ISTHMUS = Path(sys.executable).with_name("isthmus")
NEURONS = ("block5:0", "block5:1")
SPEC: dict[str, Any] = {
    "name": "small",
    "pairs": {"select": "all", "neurons": ["stem:0-4", "block0:0-1"]},
    "render": {"redirected_updates": 0, "alignment": {"weight": 0}},
    "compute": {"processes": 2, "chunk_pairs": 4},
}


def below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["plan", "no.yaml"], "no.yaml: expected a YAML file with an atlas spec, No such file or directory"),
        (["build", "no.yaml"], "no.yaml: expected a YAML file with an atlas spec, No such file or directory"),
        (["plan", "bad.yaml"], "bad.yaml line 2 column 1: expected YAML, "),
        (["build", "bad.yaml"], "bad.yaml line 2 column 1: expected YAML, "),
        (["plan", "unknown.yaml"], "pairs.neurons.0: expected a layer of efficientnet-lite0, got 'blok5'; similar: "),
        (["build", "unknown.yaml"], "pairs.neurons.0: expected a layer of efficientnet-lite0, got 'blok5'; similar: "),
        (["plan", "model.yaml"], "model.yaml: model.name: expected one of efficientnet-lite0, "),
        (["build", "cloud.yaml"], "output s3://b/small: expected s3://bucket/prefix, b is not a bucket name"),
        (["open", "s3://"], "output s3://: expected s3://bucket/prefix, nothing is not a bucket name"),
        (["preview", "blok5:1", "block5:2"], "preview: expected a layer of efficientnet-lite0, got 'blok5'; similar: "),
        (["preview", "block5:1", "block5:9999"], "preview: expected a channel of block5 from 0 to "),
        (["preview", "block5", "block5:1"], "expected a neuron as 'layer:channel'"),
        (["preview", "a:heart:1", "block5:1"], "preview: expected a layer of efficientnet-lite0, got 'a:heart'; "),
        (["preview", "a:heart: 1", "block5:1"], "expected a neuron as 'layer:channel' or a range as "
         "'layer:first-last', got 'a:heart: 1'"),
        (["preview", "block5:1", "block5:1"], "expected two different neurons, got block5:1 twice"),
        (["preview", *NEURONS, "-o", "no/strip.png"], "--output: expected a file in an existing folder, no does not"),
        (["preview", *NEURONS, "-o", "strip.jpg"], "--output: expected a file name that ends in .png, got strip.jpg"),
        (["preview", *NEURONS, "--frames", "1"], "preview: frames: expected greater than or equal to 2, got 1"),
        (["preview", *NEURONS, "--size-px", "31"], "preview: size_px: expected greater than or equal to 32, got 31"),
        (["preview", *NEURONS, "--steps", "0"], "preview: steps: expected greater than or equal to 1, got 0"),
        (["preview", *NEURONS, "--model", "vgg"], "model: name: expected one of efficientnet-lite0, "),
        (["models", "layers", "vgg"], "model: name: expected one of efficientnet-lite0, "),
        (["verify", "no"], "no: expected the folder of an atlas or a spec file, found neither at {here}/no\n"),
        (["verify", "no", "--repair"], "no: expected the folder of an atlas or a spec file, found neither at "),
        (["publish", "no"], "no: expected the folder of an atlas or a spec file, found neither at {here}/no\n"),
        (["open", "no"], "no: expected the folder of an atlas or a spec file, found neither at {here}/no\n"),
        (["publish", "empty"], "empty: no atlas at {here}/empty; build it first, or name another folder\n"),
        (["open", "empty"], "empty: no atlas at {here}/empty; build it first, or name another folder\n"),
        (["route", *NEURONS, "empty"], "empty: no atlas at {here}/empty; build it first, or name another"),
        (["route", *NEURONS, "empty", "-o", "way.gif"], "--output: expected a file name that ends in .webp or .mp4, "
         "for a movie, or .png, for a sheet, got way.gif"),
        (["route", *NEURONS, "empty", "-o", "no/way.png"], "--output: expected a file in an existing folder, no does"),
        (["route", "block5", "block5:1", "empty"], "expected a neuron as 'layer:channel'"),
        (["route", *NEURONS, "no"], "no: expected the folder of an atlas or a spec file, found neither at {here}/no\n"),
        (["verify", "bad.yaml"], "bad.yaml line 2 column 1: expected YAML, "),
        (["plan", "both.yaml"], "both.yaml: compute.pack: the old name of batch_pairs, which is given too; remove it"),
        (["build", "both.yaml"], "both.yaml: compute.pack: the old name of batch_pairs, which is given too; remove it"),
        (["plan", "old.yaml"], "old.yaml: compute.pack: expected auto or a whole number from 1 to 1024, got 0"),
        (["bench", "step", "--pack", "2", "--batch-pairs", "3"], "--pack: the old name of --batch-pairs, which is "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("for_machines", [False, True])
def test_bad_input_is_reported_in_one_line(
    isthmus: Isthmus, tmp_path: Path, arguments: list[str], complaint: str, for_machines: bool
) -> None:
    """The exit code is 2, standard error has one line that begins with the program's name, and no file is written."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.yaml").write_text("name: [\n")
    unknown = SPEC | {"pairs": {"select": "all", "neurons": ["blok5:0-2"]}}
    for name, spec in (
        ("unknown", unknown),
        ("model", SPEC | {"model": "vgg"}),
        ("cloud", SPEC | {"output": "s3://b"}),
        ("both", SPEC | {"compute": {"pack": 2, "batch_pairs": 2}}),
        ("old", SPEC | {"compute": {"pack": 0}}),
    ):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(spec))
    before = below(tmp_path)

    said = isthmus(*arguments, *(["--json"] if for_machines else []))

    assert said.code == 2
    assert (said.out == "") is not for_machines
    assert not for_machines or f"isthmus: {json.loads(said.out)['error']}\n" == said.err
    assert said.err.startswith(f"isthmus: {complaint.replace('{here}', str(tmp_path))}")
    assert said.err.count("\n") == 1
    assert said.err.endswith("\n")
    assert below(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["plan", "--frobnicate"], "No such option: --frobnicate"),
        (["plan"], "Missing argument 'SPEC'"),
        (["plan", "a.yaml", "b.yaml"], "unexpected extra argument"),
        (["preview", *NEURONS, "--frames", "two"], "Invalid value for '--frames'"),
    ],
)
def test_wrong_usage_is_reported_with_the_right_one(
    isthmus: Isthmus, tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    """The exit code is 2, standard error has the usage and the mistake, and no file is written."""
    said = isthmus(*arguments)

    assert said.code == 2
    assert said.out == ""
    assert said.err.startswith("Usage: isthmus ")
    assert complaint in said.err
    assert "Traceback" not in said.err
    assert below(tmp_path) == []


@pytest.mark.parametrize("filter_", ["", "error", "ignore"])
def test_an_old_name_of_a_key_is_reported_in_one_line(tmp_path: Path, filter_: str) -> None:
    """The spec is read, and standard error has one line with the new name, whatever PYTHONWARNINGS says."""
    spec = tmp_path / "atlas.yaml"
    spec.write_text(yaml.safe_dump(SPEC | {"output": str(tmp_path), "compute": {"pack": 2}}))
    (tmp_path / "small" / "plan").mkdir(parents=True)
    (tmp_path / "small" / "plan" / "spec.json").write_text("{}")

    said = subprocess.run(
        [ISTHMUS, "verify", spec, "--json"],
        env=os.environ | {"PYTHONWARNINGS": filter_},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert said.returncode == 1  # nothing has been published
    assert json.loads(said.stdout)["intact"] is False
    assert said.stderr == (
        f"isthmus: warning: {spec}: compute.pack is called compute.batch_pairs now; rename it, the old name still "
        "works\n"
    )


@pytest.fixture(scope="module")
def cache_of_plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that starts empty and keeps the measurement of a small batch for the plans of several tests."""
    return tmp_path_factory.mktemp("cache-of-plans")


@pytest.fixture
def measured(cache_of_plans: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE, str(cache_of_plans))


@pytest.mark.usefixtures("measured")
def test_a_plan_of_a_spec_with_an_old_name_is_one_json_object(isthmus: Isthmus, tmp_path: Path) -> None:
    """The warning is printed once and not on standard output."""
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC | {"compute": SPEC["compute"] | {"pack": 2}}))

    said = isthmus("plan", "atlas.yaml", "--json")

    assert said.code == 0
    assert json.loads(said.out)["missing"] == 21
    assert said.err.startswith("isthmus: warning: atlas.yaml: compute.pack is called compute.batch_pairs now; ")
    assert said.err.count("\n") == 1


def test_the_old_name_of_an_option_is_reported_and_hidden(isthmus: Isthmus) -> None:
    """`bench step --pack` prints a line with the new name, and help lists the new name only."""
    said = isthmus("bench", "step", "--pack", "2", "--layer", "nowhere")
    described = isthmus("bench", "step", "--help")

    warning, refusal = said.err.splitlines()
    assert warning == "isthmus: warning: --pack is called --batch-pairs now; the old name still works"
    assert refusal.startswith("isthmus: --layer: ")
    assert (said.code, said.out) == (2, "")
    assert "--batch-pairs" in described.out
    assert "--pack" not in described.out


def test_the_installed_script_reports_the_same() -> None:
    """The installed script exits with the same code, prints one line, and shows no traceback."""
    said = subprocess.run([ISTHMUS, "plan", "no.yaml"], capture_output=True, text=True, check=False, timeout=300)

    assert said.returncode == 2
    assert said.stdout == ""
    assert said.stderr == "isthmus: no.yaml: expected a YAML file with an atlas spec, No such file or directory\n"


def test_help_lists_every_command(isthmus: Isthmus) -> None:
    """Help names every command with a description that is not cut off."""
    said = isthmus("--help")

    assert said.code == 0
    assert said.err == ""
    for command in ("plan", "build", "preview", "models", "verify", "publish", "open"):
        assert f"\n  {command} " in said.out
    _, commands = said.out.split("Commands:")
    assert "..." not in commands


@pytest.mark.usefixtures("measured")
def test_a_plan_for_machines_is_one_json_object(isthmus: Isthmus, tmp_path: Path) -> None:
    """The object has the counts and the estimates, and planning writes nothing to the atlas."""
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC))

    said = isthmus("plan", "atlas.yaml", "--json")

    assert (said.code, said.err) == (0, "")
    assert said.out.count("\n") == 1
    facts = json.loads(said.out)
    estimates = facts.pop("minutes"), facts.pop("megabytes")
    assert facts == {
        "atlas": "atlases/small",
        "pairs": 21,
        "done": 0,
        "failed": 0,
        "missing": 21,
        "chunks": 3 + 1 + 3,  # of 10 + 1 + 10 pairs, at most four each
        "processes": 2,
        "estimate": "device",
        "gpu_hours": None,
    }
    assert all(estimate > 0 for estimate in estimates)
    assert below(tmp_path) == ["atlas.yaml"]


@pytest.mark.usefixtures("measured")
def test_a_plan_for_people_has_the_same_numbers(isthmus: Isthmus, tmp_path: Path) -> None:
    """Without --json one line has the numbers of a build."""
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC))

    said = isthmus("plan", "atlas.yaml")

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("atlases/small: 21 pairs, 0 done, 0 failed, 21 to render in 7 chunks: about ")
    assert said.out.endswith(" minutes with 2 processes (measured on this device), 5.0 MB\n")
    assert said.out.count("\n") == 1


def test_a_plan_counts_portraits_and_blocks_of_a_land(isthmus: Isthmus, tmp_path: Path) -> None:
    """They stand beside the pairs that are to be rendered."""
    facts = {
        "name": "small",
        "strip": "walk",
        "pairs": {"select": "all", "neurons": ["stem:0-1"]},
        "land": {"neurons": ["stem:0-1"], "cell_px": 32},
        "compute": {"engine": "work-pool", "processes": 1},
    }
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(facts))

    said = isthmus("plan", "atlas.yaml")

    assert " 1 to render, and 2 portraits, and 1 block of the land, in 5 chunks: about " in said.out


def test_a_plan_for_gpus_has_gpu_hours(isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every GPU in use counts until the end of the build; processes that share a GPU count once."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl"):
        (tmp_path / "dev" / name).touch()
    monkeypatch.setattr(device, "_DEVICE_FILES", tmp_path / "dev")
    render = SPEC["render"] | {"steps": 100_000}
    for processes in (None, 1, 4):
        (tmp_path / "atlas.yaml").write_text(
            yaml.safe_dump(SPEC | {"render": render, "compute": {"processes": processes}})
        )

        facts = json.loads(isthmus("plan", "atlas.yaml", "--json").out)

        assert facts["processes"] == (processes or 2)
        cards = min(facts["processes"], 2)
        assert facts["gpu_hours"] == pytest.approx(cards * facts["minutes"] / 60, abs=0.01) != 0
    assert (
        f" processes (measured on this device), {facts['gpu_hours']:.1f} GPU hours, "
        in isthmus("plan", "atlas.yaml").out
    )


def test_models_are_listed(isthmus: Isthmus) -> None:
    """`models` prints one line for each kind of model, and one object with --json."""
    for_people, for_machines = isthmus("models"), isthmus("models", "--json")

    assert (for_people.code, for_machines.code) == (0, 0)
    names = [line.split()[0] for line in for_people.out.splitlines()]
    assert names == ["efficientnet-lite0", "inception-v1", "frozen-graph", "onnx", "keras:NAME", "keras", "saved-model"]
    assert [kind["name"] for kind in json.loads(for_machines.out)["models"]] == names


def test_layers_of_a_model_are_listed_with_channels_size_and_kind(isthmus: Isthmus) -> None:
    """Both forms list every layer, in order from the image to the logits."""
    for_people, for_machines = (
        isthmus("models", "layers", "efficientnet-lite0"),
        isthmus("models", "layers", "efficientnet-lite0", "--json"),
    )

    assert (for_people.code, for_machines.code) == (0, 0)
    listed = json.loads(for_machines.out)
    layers = list(listed["layers"])
    assert (listed["model"], listed["size_px"]) == ("efficientnet-lite0", 128)
    assert (layers[0], layers[-1], len(layers)) == ("stem_pre_relu", "logits", 83)
    of_grid = {"own_size": None, "positions": "grid", "aligns": True, "nearest": True}
    assert listed["layers"]["block9_expand_pre_relu"] == {"channels": 672, "kind": "Conv2D", "size": [8, 8], **of_grid}
    without = {"size": None, "own_size": None, "positions": None, "aligns": False, "nearest": True}
    assert listed["layers"]["logits"] == {"channels": 1000, "kind": "Dense", **without}
    assert [line.split()[0] for line in for_people.out.splitlines()] == layers
    assert for_people.out.splitlines()[0].split()[1:] == [
        *("32", "channels", "64x64", "Conv2D", "grid", "align", "nearest"),
    ]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with a spec of a relative output, and with the records of its atlas."""
    folder = tmp_path / "work"
    (folder / "out" / "small" / "records").mkdir(parents=True)
    (folder / "out" / "small" / "records" / "a.ndjson").write_bytes(to_ndjson(RECORDS))
    (folder / "small.yaml").write_text(yaml.safe_dump(SPEC | {"output": "out"}))
    return folder


COMMANDS = [("verify",), ("verify", "--repair"), ("publish",), ("open",), ("route", *NEURONS)]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_relative_output_is_looked_for_where_the_command_runs(
    isthmus: Isthmus, tmp_path: Path, elsewhere: Path, command: tuple[str, ...]
) -> None:
    """From another folder the line says where the atlas was searched for and where there is one; nothing is changed."""
    before = below(tmp_path)

    said = isthmus(*command, "work/small.yaml")

    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"isthmus: work/small.yaml: no atlas at {tmp_path}/out/small (output 'out' is relative to the folder where the "
        "command runs); run the command in the folder of the build, or name the atlas's folder; found an atlas at "
        f"{elsewhere}/out/small\n"
    )
    assert below(tmp_path) == before


@pytest.mark.parametrize(
    ("atlas", "message"),
    [
        ("work/out", "no atlas at {here}/work/out; build it first, or name another folder; found an atlas at {found}"),
        ("work/out/smal", "expected the folder of an atlas or a spec file, found neither at {here}/work/out/smal"),
        ("work/out/other", "no atlas at {here}/work/out/other; build it first, or name another folder; found an atlas "
         "at {found}"),
        ("work/out/small/records", "no atlas at {here}/work/out/small/records; build it first, or name another folder; "
         "found an atlas at {found}"),
        ("web", "no atlas at {here}/web; build it first, or name another folder"),
        ("https://example.org/small", "expected a directory or s3://bucket/prefix; other kinds of store are not "
         "supported"),
        ("x" * 5000, "expected the folder of an atlas or a spec file, found neither at {here}/" + "x" * 5000),
    ],
    ids=["above", "typo", "empty", "below", "other project", "address", "long"],
)  # fmt: skip
def test_a_folder_that_is_no_atlas_is_named_and_left_alone(
    isthmus: Isthmus, tmp_path: Path, elsewhere: Path, atlas: str, message: str
) -> None:
    """No file is missing there, and --repair deletes nothing, not even a manifest.json of another program."""
    (elsewhere / "out" / "other").mkdir()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "manifest.json").write_text('{"name": "a web page"}')
    before = below(tmp_path)

    said = isthmus("verify", atlas, "--repair")

    text = message.replace("{here}", str(tmp_path)).replace("{found}", f"{elsewhere}/out/small")
    assert (said.code, said.out) == (2, "")
    assert said.err.endswith(f"{text}\n")
    assert said.err.count("\n") == 1
    assert below(tmp_path) == before


def test_an_atlas_without_its_pictures_is_an_atlas(isthmus: Isthmus, tmp_path: Path, elsewhere: Path) -> None:
    """Records whose pictures are all gone are damage, which is listed with the remedy."""
    picture = {"sheet_sha256": "0" * 64, "sheet_bytes": 1, "preview_sha256": "0" * 64, "preview_bytes": 1}
    atlas = elsewhere / "out" / "small"
    (atlas / "records" / "a.ndjson").write_bytes(to_ndjson([record_of("block5:0", "block5:1", **picture)]))

    said = isthmus("verify", str(atlas))

    assert said.code == 1
    assert "missing: sheets/" in said.out
    assert said.out.splitlines()[-1].startswith("To repair it: ")


def test_a_file_system_without_links_is_named_once(
    isthmus: Isthmus, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The atlas is published nevertheless, with one line on who may write at the same time."""

    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    atlas = str(elsewhere / "out" / "small")

    said = isthmus("publish", atlas)

    assert (said.code, said.err) == (
        0,
        f"isthmus: warning: {atlas}: this file system has no hard links; "
        "let only one build or publish of an atlas run at a time\n",
    )
    assert isthmus("verify", atlas).code == 0


def test_faults_of_an_atlas_are_listed_with_exit_code_1(isthmus: Isthmus, tmp_path: Path) -> None:
    """An atlas that is not intact gives exit code 1, not 2: a line for each missing file, and then the remedy."""
    (tmp_path / "broken" / "records").mkdir(parents=True)
    picture = {"sheet_sha256": "0" * 64, "sheet_bytes": 1, "preview_sha256": "0" * 64, "preview_bytes": 1}
    (tmp_path / "broken" / "records" / "a.ndjson").write_bytes(to_ndjson([record_of("stem:0", "stem:1", **picture)]))

    for_people, for_machines = isthmus("verify", "broken"), isthmus("verify", "broken", "--json")

    assert (for_people.code, for_people.err) == (1, "")
    assert for_people.out.startswith("missing: index.html\nmissing: manifest.json\nmissing: previews/")
    assert for_people.out.splitlines()[-1].startswith("To repair it: isthmus verify --repair")
    assert (for_machines.code, for_machines.err) == (1, "")
    assert json.loads(for_machines.out)["missing"][:2] == ["index.html", "manifest.json"]
    assert (json.loads(for_machines.out)["intact"], json.loads(for_machines.out)["state"]) == (False, "damaged")
