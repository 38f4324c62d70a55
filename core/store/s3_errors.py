"""Errors of an object store, translated into a StoreError of one line that says what to do.

A message repeats only the name of the error that the store or boto3 reported, so no secret can get into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from core.errors import StoreError, TransientStoreError

INTERRUPTED = (HTTPClientError, IncompleteReadError)
"""Exceptions of a body that ended early. boto3 does not retry these, because the call itself succeeded."""
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
_OTHER_REGION = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect")
_FULL = ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull")
_TRANSIENT = ("OperationAborted", "RequestTimeout", "SlowDown", "Throttling", "ThrottlingException")
"""Codes that are transient whatever their status; every answer with status 5xx or 429 is transient, too."""
_CONFLICTS = ("PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey")
"""Answers to a write whose condition does not hold, or cannot be checked because of a concurrent write."""

_GIVE_CREDENTIALS = "give valid ones by AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"


@contextmanager
def store_errors(problem: str, bucket: str, endpoint: str) -> Iterator[None]:
    """Turn an error of boto3 into a StoreError: the problem, its cause, and the remedy.

    Args:
        problem: start of the message, such as "s3://bucket/a.png: could not read".
    """
    try:
        yield
    except ClientError as error:
        kind, cause = _refusal(error, bucket)
    except BotoCoreError as error:
        kind, cause = _failure(error, endpoint)
    else:
        return
    raise kind(f"{problem}, {cause}") from None


def code_of(error: ClientError) -> str:
    """Return the name that the store gave the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """Return the HTTP status of the store's answer."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_conflict(error: ClientError) -> bool:
    """Return whether a conditional write was refused because of its condition."""
    return code_of(error) in _CONFLICTS


def _refusal(error: ClientError, bucket: str) -> tuple[type[StoreError], str]:
    """Return the class of the error for the store's answer, and its cause with the remedy."""
    code, status = code_of(error), status_of(error)
    if code == "NoSuchBucket":
        return StoreError, f"there is no bucket {bucket}; create it, or correct the output or storage.endpoint_url"
    if code == "NoSuchKey":
        return StoreError, "there is no such object"
    if code in _BAD_CREDENTIALS:
        return StoreError, f"the store refuses the credentials ({code}); {_GIVE_CREDENTIALS}"
    if code in _OTHER_REGION:
        return StoreError, f"the bucket is in another region ({code}); set storage.region"
    if code == "RequestTimeTooSkewed":
        return StoreError, "the clock of this machine is wrong; set it"
    if code in _FULL or status == 507:
        return StoreError, f"the store is full ({code}); make room and run the same command again"
    if status in (401, 403):
        return StoreError, f"the credentials do not allow it ({code}); allow them to get, put, delete and list"
    if status >= 500 or status == 429 or code in _TRANSIENT:
        return TransientStoreError, f"the store is unavailable ({code}); try again later"
    return StoreError, f"the store answers {code}"


def _failure(error: BotoCoreError, endpoint: str) -> tuple[type[StoreError], str]:
    """Return the class of the error for a failure of boto3, and its cause with the remedy."""
    name = type(error).__name__
    if isinstance(error, _NO_CREDENTIALS):
        return StoreError, f"found no credentials ({name}); {_GIVE_CREDENTIALS}"
    if isinstance(error, SSLError):
        return StoreError, f"the certificate of {endpoint} is not valid; correct storage.endpoint_url or AWS_CA_BUNDLE"
    if isinstance(error, _NO_ANSWER):
        return TransientStoreError, f"no answer from {endpoint} ({name}); try again, or correct storage.endpoint_url"
    return StoreError, f"boto3 failed ({name}); correct its environment variables and configuration files"
