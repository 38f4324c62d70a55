"""Errors of an object store, translated into a StoreError of one line that says what to do.

A message repeats the name of the error that the store or boto3 reported, and boto3's text only where it is about a
setting that is not secret, so no secret can get into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConfigParseError,
    CredentialRetrievalError,
    EndpointProviderError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    InvalidS3UsEast1RegionalEndpointConfigError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError
from botocore.parsers import ResponseParserError

from core.errors import StoreError, TransientStoreError, one_line

INTERRUPTED = (HTTPClientError, IncompleteReadError, FlexibleChecksumError)
"""Exceptions of a body that ended early or was damaged. boto3 does not retry these: the call itself succeeded."""
_NO_ANSWER = (BotoConnectionError, *INTERRUPTED)
_NO_CREDENTIALS = (
    CredentialRetrievalError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

# Error codes of S3 and of stores that speak its protocol.
_BAD_CREDENTIALS = (
    "AccessKeyIdNotFound",
    "AuthFailure",
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
)
_ABOUT_SETTINGS = (
    EndpointProviderError,
    InvalidChecksumConfigError,
    InvalidConfigError,
    InvalidDefaultsMode,
    InvalidRegionError,
    InvalidRetryConfigurationError,
    InvalidS3UsEast1RegionalEndpointConfigError,
)
"""Errors of boto3's settings whose text names the setting and has nothing secret."""

_OTHER_REGION = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect")
_FULL = ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull")
_HOST_STYLE = ("PathStyleDomainForbidden", "SecondLevelDomainForbidden", "VirtualHostDomainRequired")
_CHECKSUMS = (
    "ContentSHA256Mismatch",
    "MissingContentLength",
    "XAmzContentChecksumMismatch",
    "XAmzContentSHA256Mismatch",
)
"""Codes with which stores refuse the newer checksums; others say it in the text of a more general code."""
_CHECKSUM_TEXT = re.compile(r"checksum|crc32|aws-chunked|content-sha256|trailer", re.IGNORECASE)
_TRANSIENT = ("OperationAborted", "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException")
"""Codes that are transient whatever their status; every answer with status 5xx or 429 is transient, too."""
_CONFLICTS = ("ConditionalRequestConflict", "NoSuchKey", "OperationAborted", "PreconditionFailed", "409")
"""Answers to a write whose condition does not hold, or cannot be checked because of a concurrent write."""
_CONDITION_FAILED = (304, 412)
"""Statuses of the same answer. Only 412 is right for a write, but some stores answer as to a read."""

_GIVE_CREDENTIALS = "give valid ones by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
_NO_CHECKSUMS = "set storage.checksums: when_required"
_CORRECT_ENDPOINT = "correct storage.endpoint_url or AWS_ENDPOINT_URL"
_SET_HOST_STYLE = "set s3.addressing_style = virtual in boto3's configuration file, see AWS_CONFIG_FILE"
_CORRECT_BOTO3 = "correct its environment variables and configuration files"


@contextmanager
def store_errors(problem: str, bucket: str, endpoint: str, sends_checksums: bool = False) -> Iterator[None]:
    """Turn an error of boto3 into a StoreError: the problem, its cause, and the remedy.

    Args:
        problem: start of the message, such as "s3://bucket/a.png: could not read".
        sends_checksums: whether writes have the newer checksums, which some stores refuse.
    """
    try:
        yield
    except ClientError as error:
        kind, cause = _refusal(error, bucket, endpoint, sends_checksums and error.operation_name == "PutObject")
    except BotoCoreError as error:
        kind, cause = _failure(error, endpoint)
    except ResponseParserError:
        kind, cause = StoreError, f"the answer of {endpoint} is not one of an object store; {_CORRECT_ENDPOINT}"
    except OSError as error:  # of a file or program that boto3's settings name
        facts = f"{type(error).__name__}: {error.filename or one_line(error)}"
        kind, cause = StoreError, f"boto3 failed ({facts}); {_CORRECT_BOTO3}"
    else:
        return
    raise kind(f"{problem}, {cause}") from None


@contextmanager
def setup_errors(problem: str) -> Iterator[None]:
    """Turn an error of boto3's settings into a StoreError, also where boto3 does not expect the value at all."""
    with store_errors(problem, "", "the object store"):
        try:
            yield
        except BotoCoreError:
            raise
        except (AttributeError, TypeError, ValueError) as error:
            text = "" if "@" in str(error) else f": {one_line(error)}"  # an address may have a password
            raise StoreError(f"{problem}, boto3 failed ({type(error).__name__}{text}); {_CORRECT_BOTO3}") from None


def code_of(error: ClientError) -> str:
    """Return the name that the store gave the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of the store's answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_conflict(error: ClientError) -> bool:
    """Return whether a conditional write was refused because of its condition."""
    return code_of(error) in _CONFLICTS or status_of(error) in _CONDITION_FAILED


def is_unsupported(error: ClientError) -> bool:
    """Return whether a conditional write was refused because the store does not support conditions.

    The same write without a condition must have succeeded.
    """
    return status_of(error) in (400, 405, 501) and code_of(error) not in (*_BAD_CREDENTIALS, *_TRANSIENT)


def _refusal(error: ClientError, bucket: str, endpoint: str, has_checksum: bool) -> tuple[type[StoreError], str]:
    """Return the class of the error for the store's answer, and its cause with the remedy."""
    code, status = code_of(error), status_of(error)
    if has_checksum and _is_about_checksums(error):
        return StoreError, f"the store refuses the newer checksums ({code}); {_NO_CHECKSUMS}"
    # Reading has succeeded before anything is written, so a checksum may be the cause of a vague refusal, too.
    perhaps = f", or {_NO_CHECKSUMS}" if has_checksum else ""
    if code == "NoSuchBucket":
        problem = f"at {endpoint} there is no bucket {bucket}"
        return StoreError, f"{problem}; create it, or correct the address or storage.endpoint_url"
    if code == "NoSuchKey":
        return StoreError, "there is no such object"
    if code in _BAD_CREDENTIALS:
        also = perhaps if code == "SignatureDoesNotMatch" else ""
        return StoreError, f"the store refuses the credentials ({code}); {_GIVE_CREDENTIALS}{also}"
    if code in _HOST_STYLE:
        return StoreError, f"the store wants the bucket in its host name ({code}); {_SET_HOST_STYLE}"
    if code in _OTHER_REGION:
        return StoreError, f"the bucket is in another region ({code}); set storage.region{perhaps}"
    if code == "RequestTimeTooSkewed":
        return StoreError, "the clock of this machine is wrong; set it"
    if code in _FULL or status == 507:
        return StoreError, f"the store is full ({code}); make room and run the same command again"
    if code == str(status) and status != 429 and error.operation_name != "HeadObject":  # whose answer has no body
        return _foreign_answer(error, endpoint)
    if status in (401, 403):
        also = "" if code == "AccessDenied" else perhaps
        return StoreError, f"the credentials do not allow it ({code}); allow them to get, put, delete and list{also}"
    if (status >= 500 and status != 501) or status == 429 or code in _TRANSIENT:
        return TransientStoreError, f"the store is unavailable ({code}); try again later"
    return StoreError, f"{endpoint} answers {code} (HTTP {status}); {_CORRECT_ENDPOINT}{perhaps}"


def _is_about_checksums(error: ClientError) -> bool:
    text = str(error.response.get("Error", {}).get("Message", ""))
    return code_of(error) in _CHECKSUMS or (status_of(error) in (400, 411, 501) and bool(_CHECKSUM_TEXT.search(text)))


def _foreign_answer(error: ClientError, endpoint: str) -> tuple[type[StoreError], str]:
    """Return class and cause for an answer without the error that every object store describes in XML.

    A status of 500 or more is transient. boto3 also gives it to an answer of success that is not in XML.
    """
    target = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("location", "")
    host = re.match(r"https?://[^/?#@]+(?=[/?#]|$)", target)
    to = f" to {host[0]}" if host else ""  # without the query, which may have a token
    status = status_of(error)
    kind, again = (TransientStoreError, "try again later, or ") if status >= 500 else (StoreError, "")
    cause = f"the answer of {endpoint} is not one of an object store (HTTP {status}{to})"
    return kind, f"{cause}; {again}{_CORRECT_ENDPOINT}, and check for a proxy or login page between"


def _failure(error: BotoCoreError, endpoint: str) -> tuple[type[StoreError], str]:
    """Return the class of the error for a failure of boto3, and its cause with the remedy."""
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return StoreError, f"found no credentials ({name}); {_GIVE_CREDENTIALS}"
    if isinstance(error, SSLError):
        return StoreError, _tls_failure(str(error), endpoint)
    if isinstance(error, FlexibleChecksumError):
        problem = "the bytes that came do not have the checksum that the store sent with them"
        return StoreError, f"{problem}; if this happens to every object, {_NO_CHECKSUMS}"
    if isinstance(error, _NO_ANSWER):
        return TransientStoreError, f"no answer from {endpoint} ({name}); try again, or correct storage.endpoint_url"
    if isinstance(error, ConfigParseError):  # its text has lines of the file
        name = f"{name}: {error.kwargs.get('path')}"
    elif isinstance(error, _ABOUT_SETTINGS):
        name = f"{name}: {one_line(error)}"
    return StoreError, f"boto3 failed ({name}); {_CORRECT_BOTO3}"


def _tls_failure(text: str, endpoint: str) -> str:
    """Return the cause for a connection by https that failed, from OpenSSL's text."""
    if re.search(r"wrong.version.number|record layer failure|unknown protocol", text, re.IGNORECASE):
        return f"{endpoint} does not speak https; {_CORRECT_ENDPOINT}, perhaps to http"
    if "[Errno" in text or "[X509" in text:
        file = "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE or ca_bundle in its configuration file"
        return f"boto3 cannot read its certificates; let {file} name a file with certificates"
    return f"the certificate of {endpoint} is not valid; correct storage.endpoint_url or AWS_CA_BUNDLE"
