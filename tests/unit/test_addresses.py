"""Secrets in addresses: they are refused where an address is stored, and no message repeats them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus
from jsonschema import ValidationError as SchemaError
from jsonschema.protocols import Validator
from jsonschema.validators import validator_for
from pydantic import ValidationError
from sample_records import RECORDS, make_spec

from core.addresses import has_secret, without_secrets
from core.atlas.records import to_ndjson
from core.errors import one_line, short
from core.spec import AtlasSpec

SECRET = "Ver7Secret"
WITH_SECRETS = [
    f"https://me:{SECRET}@example.org/net.pb",
    f"https://{SECRET}@example.org/net.pb",
    f"https://me:a/{SECRET}@example.org/net.pb",
    f"https://me:?{SECRET}@example.org/net.pb",
    f"https://bucket.example.org/net.pb?X-Amz-Credential=me&X-Amz-Signature={SECRET}",
    f"https://example.org/net.pb?{SECRET}",
    f"https://example.org:8443/net.pb?sig={SECRET}&sv=1",
    f"https://example.org/net.pb#token={SECRET}",
    f"s3://me:{SECRET}@bucket/net.pb",
    f"ftp://me:{SECRET}@example.org/net.pb",
    f"HTTPS://me:{SECRET}@example.org/{'long/' * 30}net.pb",
]
PUBLIC = [
    "https://example.org/net.pb",
    "https://cdn.example.org/npm/@scope/net@1.0/net.pb",
    "http://127.0.0.1:8080/net.pb",
    "https://[2001:db8::1]:8443/net.pb",
    "s3://bucket/a/net.pb",
    "ray://head:10001",
    "nets/what?.pb",
    "/srv/a@b/net.pb",
]
SPEC: dict[str, Any] = {"name": "small", "pairs": {"select": "all", "neurons": ["stem:0-1"]}}


@pytest.mark.parametrize("address", WITH_SECRETS)
def test_an_address_loses_its_secrets_in_a_message(address: str) -> None:
    """Host and path stay, quoted or not, in short values and in the messages of other libraries."""
    assert has_secret(address)
    messages = [
        without_secrets(f"at {address}, no answer; try again"),
        without_secrets(f"got {address!r}"),
        short(address),
        short({"file": [address]}),
        one_line(RuntimeError(f"cannot reach {address}: refused")),
    ]
    assert not any(SECRET in message for message in messages)
    assert re.match(r"at \w+://(bucket\.|bucket/)?(example.org)?.*, no answer; try again$", messages[0])


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_without_secrets_stays_as_it_is(address: str) -> None:
    """Also before the punctuation of a sentence."""
    for text in (address, f"at {address}, no", f"({address})", f"{address}; or", f"'{address}'.", f"{address}: no"):
        assert without_secrets(text) == text
    assert not has_secret(address)


@pytest.mark.parametrize(
    ("text", "public"),
    [
        ("Max retries exceeded with url: /b/k?X-Amz-Signature=abc&b=c (Caused", "with url: /b/k?... (Caused"),
        ("no file me:word@example.org/net.pb", "no file example.org/net.pb"),
        ("proxy 'me:word@proxy:3128' refused", "proxy 'proxy:3128' refused"),
        ("set it to mixed4a:476; layer@2", "set it to mixed4a:476; layer@2"),
    ],
)
def test_parts_of_addresses_lose_their_secrets_too(text: str, public: str) -> None:
    """Libraries name requests and proxies without a scheme."""
    assert without_secrets(text).endswith(public)


@pytest.mark.parametrize("address", WITH_SECRETS)
@pytest.mark.parametrize(
    ("key", "section"),
    [
        ("model.file", {"model": {"name": "inception-v1", "sha256": "0" * 64}}),
        ("output", {}),
        ("storage.endpoint_url", {"output": "s3://bucket/a", "storage": {}}),
        ("compute.ray_address", {"compute": {"engine": "ray"}}),
    ],
)
def test_a_spec_with_a_secret_is_refused_without_it(
    isthmus: Isthmus, tmp_path: Path, address: str, key: str, section: dict[str, Any]
) -> None:
    """The line says how to give what is secret. Nothing is stored, and nothing that is printed has the secret."""
    spec = json.loads(json.dumps(SPEC | section))
    *parents, last = key.split(".")
    (spec[parents[0]] if parents else spec)[last] = address
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(spec))

    for command in ("plan", "build", "verify"):
        said = isthmus(command, "atlas.yaml")

        assert (said.code, said.out) == (2, "")
        assert said.err.startswith(f"isthmus: atlas.yaml: {key}: expected an address ")
        assert said.err.count("\n") == 1
        assert SECRET not in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["atlas.yaml"]
    assert not list(Path(os.environ["ISTHMUS_CACHE"]).iterdir())
    with pytest.raises(ValidationError) as refused:  # of the flow's parameter, which Prefect logs
        AtlasSpec.model_validate(spec)
    assert SECRET not in str(refused.value)


@pytest.fixture(scope="module")
def schema() -> Validator:
    """The JSON schema of a spec, which has itself been checked."""
    schema = AtlasSpec.model_json_schema()
    kind = validator_for(schema)
    kind.check_schema(schema)
    return kind(schema)


@pytest.mark.parametrize("address", WITH_SECRETS)
def test_the_schema_of_a_spec_refuses_secrets(schema: Validator, address: str) -> None:
    """A Prefect server checks parameters by the schema before it stores them."""
    schema.validate(json.loads(make_spec(model={"name": "inception-v1", "file": "a.pb"}).to_json()))
    for part in ({"model": {"file": address}}, {"output": address}, {"compute": {"ray_address": address}}):
        with pytest.raises(SchemaError):
            schema.validate(SPEC | part)


@pytest.mark.parametrize(
    "arguments",
    [
        ("models", "layers", "inception-v1", "--sha256", "0" * 64, "--model-file"),
        ("preview", "stem:0", "stem:1", "--model", "inception-v1", "--sha256", "0" * 64, "--model-file"),
        ("preview", "stem:0", "stem:1", "--model"),
        ("bench", "step", "--model", "inception-v1", "--model-file"),
        ("publish",),
        ("verify",),
    ],
    ids=" ".join,
)
def test_an_option_with_a_secret_is_refused_without_it(isthmus: Isthmus, arguments: tuple[str, ...]) -> None:
    """The line has no secret either."""
    for address in WITH_SECRETS:
        said = isthmus(*arguments, address)

        assert (said.code, said.out, said.err.count("\n")) == (2, "", 1)
        assert SECRET not in said.err


def test_a_spec_that_was_stored_with_a_secret_is_published_without_it(isthmus: Isthmus, tmp_path: Path) -> None:
    """An older version stored such specs; no published file has the secret, and nothing that is printed."""
    stored = json.loads(make_spec().to_json())
    stored["model"] |= {"name": "inception-v1", "file": WITH_SECRETS[4]}
    stored["output"] = WITH_SECRETS[0]
    for path, data in (("plan/spec.json", json.dumps(stored).encode()), ("records/a.ndjson", to_ndjson(RECORDS))):
        (tmp_path / "small" / path).parent.mkdir(parents=True)
        (tmp_path / "small" / path).write_bytes(data)

    said = [isthmus("publish", "small", "--json"), isthmus("verify", "small")]

    published = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "spec.json"]
    assert (tmp_path / "small" / "index.html") in published
    assert not any(SECRET.encode() in path.read_bytes() for path in published)
    assert not any(SECRET in each.out + each.err for each in said)
    assert "https://bucket.example.org/net.pb?..." in (tmp_path / "small" / "manifest.json").read_text()


@pytest.mark.parametrize(
    "environment",
    [
        {"PREFECT_API_URL": f"http://me:a/{SECRET}@127.0.0.1:9/api?token={SECRET}"},
        {"PREFECT_API_URL": "http://example.org/api", "http_proxy": f"ftp://me:{SECRET}@127.0.0.1:9"},
        {"PREFECT_CLIENT_CUSTOM_HEADERS": f'{{"Authorization": ["{SECRET}"]}}'},
    ],
)
def test_no_secret_of_the_environment_is_told(tmp_path: Path, environment: dict[str, str]) -> None:
    """A build that Prefect's settings stop says so in one line without the secret, and writes nothing."""
    (tmp_path / "atlas.yaml").write_text(yaml.safe_dump(SPEC))
    given = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    given |= {"PREFECT_HOME": str(tmp_path / "home"), "PREFECT_CLIENT_MAX_RETRIES": "0"} | environment

    ended = subprocess.run(
        [Path(sys.executable).with_name("isthmus"), "build", "atlas.yaml", "--json"],
        cwd=tmp_path, env=given, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip

    assert ended.returncode == 2
    assert SECRET not in ended.stdout + ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not (tmp_path / "atlases").exists()
