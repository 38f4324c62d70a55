"""Failures with --json: one object on standard output, whatever the cause, and the same exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus

from core.errors import DeviceError, RecordError, RenderDivergedError, SpecError, StoreError
from flows import cli
from flows.failures import of_error

SPEC: dict[str, Any] = {"name": "small", "pairs": {"select": "all", "neurons": ["stem:0-1"]}}


@pytest.mark.parametrize(
    ("change", "field", "what_to_do"),
    [
        ({"nmae": 1}, "nmae", "did you mean 'name'? (known: "),
        ({"a: b; c": 1}, "a: b; c", None),
        ({"pairs": {"select": "some"}}, "pairs.select", None),
        ({"pairs": {"select": "list", "list": [["stem:0", "stem:1"], ["stem:0"]]}}, "pairs.list.1", None),
        ({"pairs": {"select": "all", "neurons": ["blok5:0-1"]}}, "pairs.neurons.0", "similar: "),
        ({"render": {"steps": "a; b: c"}}, "render.steps", None),
        ({"render": {"frames": 2}, "strip": "walk"}, "render.frames", None),
        ({"compute": {"ray_address": "ray://a:1"}}, "compute.ray_address", "it belongs to ray"),
        ({"model": "vgg"}, "model.name", None),
        ({"model": {"name": "inception-v1"}}, "model.file", "inception-v1 needs it"),
        ({"model": {"name": "inception-v1", "file": "no.pb"}}, "model.file", None),
        ({"output": "ftp://host"}, "output", "other kinds of store are not supported"),
        ({"storage": {"endpoint_url": "host"}}, "storage.endpoint_url", None),
    ],
)
def test_a_mistake_in_a_spec_names_field_and_remedy(
    isthmus: Isthmus, tmp_path: Path, change: dict[str, Any], field: str, what_to_do: str | None
) -> None:
    """The error is the line of standard error."""
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC | change))

    for command in ("plan", "build"):
        said = isthmus(command, "atlas.yaml", "--json")

        failure = json.loads(said.out)
        assert (said.code, said.out.count("\n"), list(failure)) == (2, 1, ["error", "field", "what_to_do"])
        assert said.err == f"isthmus: {failure['error']}\n"
        assert failure["field"] == field
        assert failure["what_to_do"] == what_to_do or failure["what_to_do"].startswith(what_to_do)


@pytest.mark.parametrize(
    ("error", "field", "what_to_do"),
    [
        (SpecError("--output: expected a file in an existing folder, no does not exist"), "--output", None),
        (SpecError("a.yaml: no atlas at /a/b; build it first"), None, "build it first"),
        (StoreError("s3://b/k/a: could not read, no answer; try again; or not"), None, "try again; or not"),
        (StoreError("AWS_ENDPOINT_URL: expected an address without user"), "AWS_ENDPOINT_URL", None),
        (SpecError("SSL_CERT_FILE, SSL_CERT_DIR: expected certificates; unset them"), "SSL_CERT_FILE", "unset them"),
        (SpecError("preview: expected 'render.x: y; z', boto3's or Ray's"), None, None),
        (RecordError("out/records/a.ndjson line 1: seed: Input should be a number; build again"), None, "build again"),
        (DeviceError("render.precision: expected a GPU; set float32"), "render.precision", "set float32"),
    ],
)
def test_the_parts_of_a_message_are_found(error: SpecError, field: str | None, what_to_do: str | None) -> None:
    """A message begins with the place, and ends with the remedy behind a semicolon. Quoted values do not count."""
    failure = of_error(error)

    assert (failure.error, failure.field, failure.what_to_do) == (str(error), field, what_to_do)


@pytest.mark.parametrize(
    ("arguments", "error", "field", "what_to_do"),
    [
        (["frobnicate"], "No such command 'frobnicate'.", None, "see isthmus --help"),
        (["plan", "--frobnicate"], "No such option: --frobnicate", "--frobnicate", "see isthmus plan --help"),
        (["plan"], "Missing argument 'SPEC'.", "SPEC", "see isthmus plan --help"),
        (["plan", "a", "b"], "Got unexpected extra argument(s) (b)", None, "see isthmus plan --help"),
        (["preview", "a:1", "b:2", "--frames", "two"], "Invalid value for '--frames': ", "--frames",
         "see isthmus preview --help"),
        (["models", "layers"], "Missing argument 'MODEL'.", "MODEL", "see isthmus models layers --help"),
        (["bench", "step", "--repeats", "0"], "Invalid value for '--repeats': ", "--repeats",
         "see isthmus bench step --help"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_object(
    isthmus: Isthmus, arguments: list[str], error: str, field: str | None, what_to_do: str
) -> None:
    """Standard error has the usage too."""
    said = isthmus(*arguments, "--json")

    failure = json.loads(said.out)
    assert (said.code, said.out.count("\n")) == (2, 1)
    assert failure["error"].startswith(error)
    assert (failure["field"], failure["what_to_do"]) == (field, what_to_do)
    assert said.err.startswith("Usage: isthmus ")


def test_an_unexpected_exception_is_one_object_after_its_traceback(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was printed before goes to standard error, and the exit code is 1, as without --json."""

    def fail(*_: object) -> None:
        print("a library says hello")
        raise ZeroDivisionError("at https://me:word@host/x?sig=abc")

    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.setattr(cli, "read_spec_file", fail)

    said = isthmus("plan", "atlas.yaml", "--json")

    assert said.code == 1
    assert json.loads(said.out) == {
        "error": "ZeroDivisionError: at https://host/x?...",
        "field": None,
        "what_to_do": "report this with the traceback on standard error",
    }
    assert "Traceback" in said.err
    assert "a library says hello" in said.err
    with pytest.raises(ZeroDivisionError):
        isthmus("plan", "atlas.yaml")


def test_what_libraries_print_is_not_part_of_the_result(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standard output has the result alone."""
    read = cli.read_spec_file

    def noisy(path: Path) -> Any:
        print("a library says hello")
        return read(path)

    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC | {"compute": {"engine": "work-pool"}}))
    monkeypatch.setattr(cli, "read_spec_file", noisy)

    said = isthmus("plan", "atlas.yaml", "--json")

    assert (said.code, said.err) == (0, "a library says hello\n")
    assert json.loads(said.out)["pairs"] == 1


def test_a_strip_that_diverges_has_exit_code_1(
    isthmus: Isthmus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no mistake of the user's."""

    def diverge(*_: object) -> None:
        raise RenderDivergedError("the objective was not finite at update 3, nothing was written; try another seed")

    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC))
    monkeypatch.setattr(cli, "read_spec_file", diverge)

    said = isthmus("plan", "atlas.yaml", "--json")

    assert (said.code, json.loads(said.out)["what_to_do"]) == (1, "try another seed")


def asleep(pid: int) -> bool:
    """Return whether all threads of a process wait, or the process has ended."""
    states = [stat.read_text().rpartition(")")[2].split()[0] for stat in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) <= {"S", "Z"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("as_json", [True, False])
def test_any_command_that_is_stopped_says_so(tmp_path: Path, number: int, code: int, as_json: bool) -> None:
    """The command waits for a named pipe that nothing writes to, as for a slow disk."""
    (tmp_path / "atlas" / "records").mkdir(parents=True)
    os.mkfifo(tmp_path / "atlas" / "records" / "a.ndjson")
    arguments = ["verify", "atlas", *(["--json"] if as_json else [])]
    waiting = subprocess.Popen(
        [Path(sys.executable).with_name("isthmus"), *arguments],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with (tmp_path / "atlas" / "records" / "a.ndjson").open("wb"):  # opens when the command opens it
        while not asleep(waiting.pid):  # a signal between Python's last look for signals and its read would wait too
            time.sleep(0.05)
        waiting.send_signal(number)
        out, err = waiting.communicate(timeout=300)

    resume = "interrupted; to resume, run the same command again"
    assert (waiting.returncode, err) == (code, f"isthmus: {resume}\n")
    assert out == "" or json.loads(out) == {
        "error": resume, "field": None, "what_to_do": "to resume, run the same command again"
    }  # fmt: skip
    assert bool(out) == as_json
