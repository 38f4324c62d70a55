"""The client of an object store: what a spec says of it, and which of boto3's own settings count.

Credentials, profile, default endpoint and default checksums come from boto3's environment variables and files. Retries
and timeouts do not, because builds rely on them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from core.errors import StoreError
from core.fields import ENDPOINT
from core.spec import Storage
from core.store.s3_errors import setup_errors

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

_CONNECTIONS = 32  # for the threads of a store and those that store what has been rendered
_CONNECT_SECONDS, _READ_SECONDS = 10, 60
_AWS_HOSTS = (".amazonaws.com", ".amazonaws.com.cn")


def new_client(storage: Storage, attempts: int) -> S3Client:
    """Return a client for the store that a spec, or else boto3's own settings name.

    Args:
        attempts: upper bound on the attempts for a call, whatever boto3's settings say.

    Raises:
        StoreError: if boto3 is not set up correctly.
    """
    with setup_errors("object store: could not be set up"):
        session = boto3.session.Session()
        try:
            client = _configured(session, storage, attempts, storage.endpoint_url, "auto")
        except ValueError as error:
            if "Invalid endpoint" in str(error):
                raise _wrong_endpoint() from None
            raise
        endpoint = client.meta.endpoint_url
        if (urlsplit(endpoint).hostname or "").endswith(_AWS_HOSTS):
            return client
        if "@" in endpoint:  # this message must not repeat the address
            raise StoreError(f"{_endpoint_setting()}: expected an address without user and password")
        if not re.fullmatch(ENDPOINT, endpoint):
            raise _wrong_endpoint()
        return _configured(session, storage, attempts, endpoint.rstrip("/"), _custom_style(session, endpoint))


def _wrong_endpoint() -> StoreError:
    """Return the error for an address that is not one; it may have a password, so the message does not repeat it."""
    return StoreError(f"{_endpoint_setting()}: expected an address such as https://store.example.org")


def _endpoint_setting() -> str:
    """Return the name of the setting that boto3 takes the endpoint from."""
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    return next(filter(os.environ.get, variables), "endpoint_url in boto3's configuration file")


def _custom_style(session: boto3.session.Session, endpoint: str) -> Literal["path", "virtual"]:
    """Return the style of addresses for a store other than AWS: the bucket in the path, or in the host's name.

    Most of these stores support the first; a few require the second, which boto3's configuration file can ask for.
    """
    asked = session._session.get_scoped_config().get("s3", {}).get("addressing_style")
    has_name = re.fullmatch(r"[0-9.]+|.*:.*", urlsplit(endpoint).hostname or "") is None
    return "virtual" if asked == "virtual" and has_name else "path"


def _configured(
    session: boto3.session.Session,
    storage: Storage,
    attempts: int,
    endpoint_url: str | None,
    addressing: Literal["auto", "path", "virtual"],
) -> S3Client:
    s3: Any = {"addressing_style": addressing}
    if addressing != "auto":
        s3["use_accelerate_endpoint"] = False  # AWS alone has accelerated endpoints
    config = Config(
        s3=s3,
        retries={"mode": storage.retries, "total_max_attempts": attempts},
        request_checksum_calculation=storage.checksums,
        response_checksum_validation=storage.checksums,
        max_pool_connections=_CONNECTIONS,
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
    )
    region = storage.region or session.region_name or "us-east-1"
    client = session.client("s3", endpoint_url=endpoint_url, region_name=region, config=config)
    client.meta.events.register("before-call.s3.HeadBucket", _do_not_follow)
    return client


def _do_not_follow(context: dict[str, Any], **_: object) -> None:
    """Stop boto3 from following the answer to HeadBucket.

    After a redirect, boto3 asks for the bucket's region by this call. If a login page redirects that, too, boto3 would
    ask again without end.
    """
    context["s3_redirect"]["redirected"] = True
