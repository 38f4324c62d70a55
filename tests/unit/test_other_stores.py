"""Object stores that differ from AWS, servers that are no object store, and boto3's own settings."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import Isthmus, Said
from other_store import BUCKET, ENVIRONMENT, Answer, OtherStore, refusal
from sample_records import RECORDS

from core.atlas.records import to_ndjson
from core.errors import StoreError, TransientStoreError
from core.spec import Storage
from core.store import s3
from core.store.store import Store, open_store

PATH = "/storage/v1/s3"
ADDRESS = f"s3://{BUCKET}/a/small"
SET_CHECKSUMS = "set storage.checksums: when_required"


@pytest.fixture(scope="module")
def running() -> Iterator[OtherStore]:
    """A store whose endpoint has a path."""
    with OtherStore(path=PATH).running() as running:
        yield running


@pytest.fixture
def other(running: OtherStore, monkeypatch: pytest.MonkeyPatch) -> OtherStore:
    """The running store, empty and with the habits of AWS, and an environment of boto3 without an endpoint."""
    url = running.url
    running.__init__(path=PATH, url=url)  # type: ignore[misc]
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for cached in ("_client", "_respects_conditions"):
        monkeypatch.setattr(s3, cached, lru_cache(getattr(s3, cached).__wrapped__))
    return running


def opened(other: OtherStore, **storage: Any) -> Store:
    return open_store(ADDRESS, Storage(endpoint_url=other.url, **storage))


def check_contract(store: Store) -> None:
    """Check what builds rely on: objects are created once, swapped by version, listed and read."""
    assert store.create("records/a", b"one") is True
    assert store.create("records/a", b"two") is False
    version = store.version("records/a")
    assert store.swap("records/a", b"three", version) is True
    assert store.swap("records/a", b"four", version) is False
    assert (list(store.list("")), store.read("records/a"), store.exists("b")) == (["records/a"], b"three", False)


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("given", ["storage", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "config"])
def test_an_endpoint_may_have_a_path(
    other: OtherStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, given: str, end: str
) -> None:
    """A spec, a variable and boto3's configuration file may give it; the address of the page has it, too."""
    if given == "config":
        (tmp_path / "config").write_text(f"[default]\nendpoint_url = {other.url}{end}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    elif given != "storage":
        monkeypatch.setenv(given, other.url + end)

    store = open_store(ADDRESS, Storage(endpoint_url=other.url + end if given == "storage" else None))

    assert store.create("index.html", b"page")
    assert store.location("index.html") == f"{other.url}/{BUCKET}/a/small/index.html"
    assert other.objects == {"a/small/index.html": b"page"}


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("https://project.supabase.co/storage/v1/s3", True),
        ("https://store.example.org:9000/a-b/c_d~e/", True),
        ("http://[::1]:9000/s3", True),
        ("https://store.example.org/s3?region=x", False),
        ("https://store.example.org/s3#top", False),
        ("https://store.example.org /s3", False),
        ("https:///s3", False),
        ("store.example.org/s3", False),
    ],
)
def test_the_endpoint_is_an_address_without_query_and_fragment(url: str, good: bool) -> None:
    """A path is allowed, because it is a part of the endpoint of several stores."""
    if good:
        assert Storage(endpoint_url=url).endpoint_url == url
    else:
        with pytest.raises(ValueError, match=r"expected an address such as https://store\.example\.org, got "):
            Storage(endpoint_url=url)


@pytest.mark.parametrize(
    "answer",
    [(304, {}, b""), (412, {}, b""), refusal(412, "PreconditionFailed"), refusal(304, "NotModified")],
    ids=["304", "412", "412 with a code", "304 with a code"],
)
def test_every_answer_to_a_condition_that_does_not_hold_is_understood(other: OtherStore, answer: Answer) -> None:
    """Some stores answer to a conditional write as to a read, and some without a code."""
    other.to_conditions = answer

    assert opened(other).allows_many_writers() is True
    check_contract(opened(other))


@pytest.mark.parametrize(
    "answer",
    [
        refusal(501, "NotImplemented"),
        refusal(400, "InvalidArgument", "Unsupported header 'if-none-match' received for this API call."),
        refusal(400, "InvalidRequest"),
        (405, {}, b""),
    ],
    ids=["501", "400 argument", "400 request", "405"],
)
def test_a_store_that_refuses_all_conditions_is_for_one_writer(other: OtherStore, answer: Answer) -> None:
    """Whatever it calls that, the store is used without conditions."""
    other.to_conditions, other.knows_conditions = answer, False

    assert opened(other).allows_many_writers() is False
    check_contract(opened(other))


CHECKSUM_REFUSALS = [
    refusal(400, "XAmzContentSHA256Mismatch", "The Content-SHA256 you specified did not match what we received"),
    refusal(400, "ContentSHA256Mismatch", "The provided content-sha256 does not match what was computed."),
    refusal(411, "MissingContentLength", "You must provide the Content-Length HTTP header."),
    refusal(400, "InvalidArgument", "Unsupported header 'x-amz-checksum-crc32' received for this API call."),
    refusal(400, "InvalidArgument", "Unsupported header 'x-amz-sdk-checksum-algorithm' received for this API call."),
    refusal(400, "InvalidArgument", "aws-chunked encoding is not supported with the specified value."),
    refusal(400, "InvalidArgument", "x-amz-content-sha256 must be UNSIGNED-PAYLOAD or a valid sha256 value."),
    refusal(400, "InvalidRequest", "Checksum Type mismatch occurred, expected checksum Type: null, actual: crc32"),
    refusal(501, "NotImplemented", "Header 'x-amz-checksum-crc32' with value '8FJbTw==' not implemented"),
]


@pytest.mark.parametrize("answer", CHECKSUM_REFUSALS, ids=range(len(CHECKSUM_REFUSALS)))
def test_a_store_that_refuses_the_newer_checksums_is_named_with_the_setting(other: OtherStore, answer: Answer) -> None:
    """The message says what to set, whichever code the store has for it; with the setting, the store works."""
    other.to_checksums = answer

    with pytest.raises(
        StoreError, match=rf"could not write, the store refuses the newer checksums \(.*{SET_CHECKSUMS}"
    ):
        opened(other).create("records/a", b"")

    check_contract(opened(other, checksums="when_required"))


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (refusal(403, "SignatureDoesNotMatch"), "the store refuses the credentials (SignatureDoesNotMatch)"),
        (refusal(400, "AuthorizationHeaderMalformed"), "the bucket is in another region"),
        (refusal(401, "Unauthorized"), "the credentials do not allow it (Unauthorized)"),
        (refusal(400, "InvalidRequest"), "answers InvalidRequest (HTTP 400)"),
        (refusal(501, "NotImplemented"), "answers NotImplemented (HTTP 501)"),
    ],
)
def test_a_vague_refusal_of_a_write_names_the_checksums_too(other: OtherStore, answer: Answer, cause: str) -> None:
    """These answers have other causes, but stores give them to checksums as well; without checksums they do not."""
    other.to_checksums = answer

    with pytest.raises(StoreError) as caught:
        opened(other).create("records/a", b"")

    assert not isinstance(caught.value, TransientStoreError)
    assert cause in str(caught.value)
    assert str(caught.value).endswith(f", or {SET_CHECKSUMS}")
    other.to_everything = answer
    with pytest.raises(StoreError) as caught:
        opened(other, checksums="when_required").replace("records/a", b"")
    assert SET_CHECKSUMS not in str(caught.value)


def test_the_checksums_of_the_environment_count_unless_the_spec_has_them(
    other: OtherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3's documented variable is respected."""
    other.to_checksums = CHECKSUM_REFUSALS[0]
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")

    check_contract(opened(other))
    with pytest.raises(StoreError, match=SET_CHECKSUMS):
        opened(other, checksums="when_supported").replace("records/b", b"")


def test_bytes_without_their_checksum_are_an_error_that_names_the_setting(other: OtherStore) -> None:
    """The object may be damaged on its way, or the store may compute another checksum."""
    store = opened(other)
    store.create("records/a", b"data")
    other.headers = {"x-amz-checksum-crc32": "AAAAAA=="}

    with pytest.raises(StoreError) as caught:
        store.read("records/a")

    assert str(caught.value) == (
        f"{ADDRESS}/records/a: could not read, the bytes that came do not have the checksum that the store sent with "
        f"them; if this happens to every object, {SET_CHECKSUMS}"
    )
    assert opened(other, checksums="when_required").read("records/a") == b"data"


HTML = {"Content-Type": "text/html"}
PAGE = b"<!doctype html><html><head><title>Sign in</title><meta charset=x></head><body>Please sign in</body></html>"
XHTML = b"<html><body><p>Please sign in</p></body></html>"


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        ((200, HTML, XHTML), ""),
        ((200, HTML, b""), ""),
        ((404, HTML, PAGE), " (HTTP 404)"),
        ((403, HTML, PAGE), " (HTTP 403)"),
        ((407, HTML, b""), " (HTTP 407)"),
        ((400, {}, b"Client sent an HTTP request to an HTTPS server.\n"), " (HTTP 400)"),
        ((302, HTML | {"Location": "https://login.example.org/?token=hush"}, b""),
         " (HTTP 302 to https://login.example.org)"),
    ],
)  # fmt: skip
def test_an_answer_that_is_not_of_a_store_is_one_line(other: OtherStore, answer: Answer, detail: str) -> None:
    """A login page, another server or an empty answer is never taken for an object, a listing or a success."""
    other.to_everything = answer
    store = opened(other)
    calls: list[Callable[[], object]] = [
        lambda: list(store.list("records/")),
        lambda: store.read("records/a"),
        lambda: store.exists("records/a"),
        lambda: store.create("records/a", b""),
        lambda: store.replace("records/a", b""),
    ]

    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        assert f"the answer of {other.url} is not one of an object store{detail}; correct " in str(caught.value)
        assert not isinstance(caught.value, TransientStoreError)
        assert "\n" not in str(caught.value)
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize("body", [PAGE, b'{"ok": true}'], ids=["page", "json"])
def test_a_success_that_is_not_xml_is_one_line(other: OtherStore, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """boto3 takes it for a failure that may pass; an answer to a question about one object is not taken for that."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    other.to_everything = (200, HTML, body)
    store = opened(other)

    for call in (lambda: store.list("records/"), lambda: store.replace("records/a", b"")):
        with pytest.raises(
            TransientStoreError, match=r"is not one of an object store \(HTTP 500\); try again later, or "
        ):
            call()
    with pytest.raises(StoreError, match=r"is not one of an object store; correct storage\.endpoint_url"):
        store.exists("manifest.json")


def test_https_where_http_is_spoken_is_named(other: OtherStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message does not speak of a certificate, because there is none."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    url = other.url.replace("http://", "https://")

    with pytest.raises(StoreError, match=f"{url} does not speak https; correct storage.endpoint_url"):
        open_store(ADDRESS, Storage(endpoint_url=url)).read("records/a")


@pytest.mark.parametrize("bundle", ["missing.pem", "", "text.pem"])
def test_a_file_of_certificates_that_cannot_be_read_is_named(
    other: OtherStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: str
) -> None:
    """The message has the settings, and does not blame the store's certificate."""
    monkeypatch.setattr(s3, "ATTEMPTS", 1)
    (tmp_path / "text.pem").write_text("no certificate")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / bundle))

    with pytest.raises(StoreError, match="boto3 cannot read its certificates; let AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE"):
        open_store(ADDRESS, Storage(endpoint_url=other.url.replace("http:", "https:"))).read("records/a")


@pytest.mark.parametrize("code", ["PathStyleDomainForbidden", "SecondLevelDomainForbidden"])
def test_a_store_that_wants_the_bucket_in_the_host_is_named_with_the_setting(other: OtherStore, code: str) -> None:
    """boto3's configuration file has a setting for it."""
    other.to_everything = refusal(403, code)

    with pytest.raises(StoreError, match=rf"wants the bucket in its host name \({code}\); set s3.addressing_style"):
        opened(other).read("records/a")


def test_the_bucket_is_in_the_host_if_boto3_is_configured_so(
    other: OtherStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The address of the page follows; a numeric address cannot have the bucket in front."""
    (tmp_path / "config").write_text("[default]\ns3 =\n  addressing_style = virtual\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    named = open_store(ADDRESS, Storage(endpoint_url="https://store.example.org/s3/"))

    assert named.location("index.html") == f"https://{BUCKET}.store.example.org/s3/a/small/index.html"
    check_contract(opened(other))


def test_a_listing_is_complete_or_an_error(other: OtherStore) -> None:
    """A store of the first version of the protocol does not continue a listing, which must not pass for its end."""
    other.objects = {f"a/small/records/{number}": b"" for number in range(5)}
    other.page = 2
    assert len(list(opened(other).list("records/"))) == 5

    other.knows_tokens = False
    with pytest.raises(StoreError, match="could not list, the store does not support ListObjectsV2"):
        opened(other).list("records/")


@pytest.mark.parametrize("prefix", ["a+b", "a b", "ä/100%", "a&b=c"])
def test_a_prefix_may_have_characters_that_addresses_encode(other: OtherStore, prefix: str) -> None:
    """Objects are found again, also if the listing does not encode a plus sign; the page's address is encoded."""
    store = open_store(f"s3://{BUCKET}/{prefix}/small", Storage(endpoint_url=other.url))

    check_contract(store)

    assert list(other.objects) == [f"{prefix}/small/records/a"]
    assert not set(store.location("x").removeprefix(other.url)) & set("+ &=ä")


VALUES = [
    ({"AWS_ENDPOINT_URL": "https://store.example.org?x=1"}, None, "AWS_ENDPOINT_URL: expected an address such as "),
    ({"AWS_ENDPOINT_URL_S3": "ftp://store"}, None, "AWS_ENDPOINT_URL_S3: expected an address such as "),
    ({}, "endpoint_url = nowhere", "endpoint_url in boto3's configuration file: expected an address such as "),
    ({"AWS_REQUEST_CHECKSUM_CALCULATION": "never"}, None, "request_checksum_calculation. Expected one of "),
    ({"AWS_DEFAULT_REGION": "us east"}, None, "InvalidRegionError: Provided region_name 'us east'"),
    ({"AWS_DEFAULTS_MODE": "fast"}, None, "InvalidDefaultsMode: Client configured with invalid defaults mode: fast"),
    ({"AWS_METADATA_SERVICE_TIMEOUT": "long", "AWS_ACCESS_KEY_ID": ""}, None, "'long'"),
    ({}, "no section", "ConfigParseError: {config}); correct "),
    ({}, "s3 = path", "boto3 failed (AttributeError: "),
    ({"AWS_PROFILE": "nobody"}, None, "found no credentials (ProfileNotFound); give valid ones by "),
    ({"AWS_ACCESS_KEY_ID": ""}, "credential_process = /no/program", "FileNotFoundError: /no/program); correct "),
    ({"AWS_ACCESS_KEY_ID": ""}, "credential_process = /bin/echo hush", "boto3 failed (JSONDecodeError: "),
    ({"AWS_ACCESS_KEY_ID": "", "AWS_WEB_IDENTITY_TOKEN_FILE": "/no/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"},
     None, "FileNotFoundError: /no/token); correct "),
    ({"AWS_ACCESS_KEY_ID": ""}, "role_arn = arn:aws:iam::1:role/x\nsource_profile = b", "InvalidConfigError: The "),
]  # fmt: skip


@pytest.mark.parametrize(("variables", "config", "message"), VALUES, ids=range(len(VALUES)))
def test_a_wrong_setting_of_boto3_is_named_in_one_line(
    other: OtherStore,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    isthmus: Isthmus,
    variables: dict[str, str],
    config: str | None,
    message: str,
) -> None:
    """The line has the setting, its file or its value, and nothing secret."""
    file = tmp_path / "config"
    file.write_text("hush\n" if config == "no section" else f"[default]\n{config or ''}\n")
    for name, value in ({"AWS_CONFIG_FILE": str(file)} | variables).items():
        monkeypatch.setenv(name, value)
    if not any("ENDPOINT" in name for name in variables) and "endpoint" not in (config or ""):
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.url)

    ended = isthmus("verify", ADDRESS)

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message.replace("{config}", str(file)) in ended.err
    assert "hush" not in ended.err


@pytest.mark.parametrize(
    ("variables", "config"),
    [
        ({"AWS_MAX_ATTEMPTS": "many"}, ""),
        ({"AWS_RETRY_MODE": "many"}, ""),
        ({"AWS_USE_DUALSTACK_ENDPOINT": "true"}, ""),
        ({"AWS_USE_FIPS_ENDPOINT": "true"}, ""),
        ({"AWS_CONFIG_FILE": "/no/file", "AWS_SHARED_CREDENTIALS_FILE": "/no/file"}, ""),
        ({}, "s3 =\n  use_accelerate_endpoint = true"),
        ({}, "s3 =\n  use_dualstack_endpoint = true"),
        ({}, "s3 =\n  payload_signing_enabled = true"),
        ({}, "s3 =\n  signature_version = s3"),
        ({}, "s3 =\n  addressing_style = auto"),
    ],
)
def test_settings_of_boto3_for_aws_and_for_retries_do_not_disturb(
    other: OtherStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variables: dict[str, str], config: str
) -> None:
    """They are overridden for a store that is not AWS, or have no effect there."""
    (tmp_path / "config").write_text(f"[default]\n{config}\n")
    for name, value in ({"AWS_CONFIG_FILE": str(tmp_path / "config")} | variables).items():
        monkeypatch.setenv(name, value)

    check_contract(opened(other))


@pytest.fixture
def said(other: OtherStore, monkeypatch: pytest.MonkeyPatch, isthmus: Isthmus) -> Callable[..., Said]:
    """The command line, with the endpoint of the store in the environment."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", other.url)
    return isthmus


COMMANDS = [("verify",), ("verify", "--repair"), ("publish",), ("open",), ("route", "block5:0", "block5:1")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_atlas_that_is_not_in_the_bucket_is_looked_for_in_words(
    other: OtherStore, said: Callable[..., Said], command: tuple[str, ...]
) -> None:
    """The line has endpoint, bucket and prefix; no advice to repair is given, and nothing is written or deleted."""
    other.objects = {"a/smal/records/x.ndjson": to_ndjson(RECORDS), "a/small/plan/probe-1": b""}
    before = dict(other.objects)

    for arguments in ((), ("--json",)):
        ended = said(*command, ADDRESS, *arguments)

        assert (ended.code, bool(ended.out)) == (2, bool(arguments))
        assert ended.err == (
            f"isthmus: {ADDRESS}: no atlas at {ADDRESS} (searched {other.url}/{BUCKET}/a/small/); build it first, "
            "or correct bucket, prefix, name, storage.endpoint_url or AWS_ENDPOINT_URL\n"
        )
    assert other.objects == before


def test_a_spec_whose_bucket_has_no_atlas_names_the_place(
    other: OtherStore, said: Callable[..., Said], tmp_path: Path
) -> None:
    """The endpoint is that of the spec, which may be wrong."""
    spec = {"name": "small", "output": f"s3://{BUCKET}/a", "pairs": {"select": "list", "list": [["stem:0", "stem:1"]]}}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(spec | {"storage": {"endpoint_url": other.url}}))

    ended = said("verify", "small.yaml")

    assert ended.code == 2
    assert ended.err.startswith(
        f"isthmus: small.yaml: no atlas at {ADDRESS} (searched {other.url}/{BUCKET}/a/small/); "
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://atlase/a/small", "at {url} there is no bucket atlase; create it, or correct the address or storage."),
        ("s3://atlases/a/small/", "no atlas at s3://atlases/a/small (searched {url}/atlases/a/small/); build it "),
    ],
)
def test_the_message_for_a_wrong_address_has_the_endpoint(
    other: OtherStore, said: Callable[..., Said], address: str, message: str
) -> None:
    """A bucket that does not exist is not an atlas that is damaged."""
    ended = said("verify", address, "--repair")

    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert message.replace("{url}", other.url) in ended.err


def test_a_build_in_progress_in_a_bucket_is_an_atlas(other: OtherStore, said: Callable[..., Said]) -> None:
    """A plan without records is verified, and lacks what is published."""
    other.objects = {"a/small/plan/spec.json": b"{}"}

    ended = said("verify", ADDRESS, "--json")

    assert (ended.code, json.loads(ended.out)["missing"]) == (1, ["index.html", "manifest.json"])
