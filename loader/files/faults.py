"""What the libraries below fsspec raise, as sentences without secrets."""

from __future__ import annotations

import errno
from http import HTTPStatus

from loader.files.names import without_secrets

_CREDENTIALS = {
    "s3": "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for public data set "
    "FSSPEC_S3_ANON=true.",
    "gs": "Run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS; "
    "for public data set FSSPEC_GS_TOKEN=anon.",
    "az": "Set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or "
    "AZURE_STORAGE_CONNECTION_STRING.",
    "https": "Put them into ~/.netrc, or use a presigned address.",
    "sftp": "Load a key into ssh-agent (`ssh-add`), or write sftp://user:password@host/path.",
}
_EXTRA = {"s3a": "s3", "gcs": "gs", "abfs": "az", "abfss": "az", "http": "https"}


def remote_fault(error: BaseException, scheme: str) -> str:
    """What went wrong and what to do next, to stand behind a name and a colon."""
    credentials = _CREDENTIALS[_EXTRA.get(scheme, scheme)]
    said = without_secrets(str(error)) or type(error).__name__
    chain = list(_chain(error))
    kinds = " ".join(kind.__name__ for one in chain for kind in type(one).__mro__)
    status = next((code for one in chain if (code := _status(one))), 0)
    if "BadHostKey" in kinds or "not found in known_hosts" in said:
        return (
            f"the server's key is not the known one ({said}). Connect once with `sftp` or `ssh` "
            "and compare it."
        )
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return "the proxy asks for a password. Put it into HTTPS_PROXY."
    # aiohttp has a status in this too, one that the server did not send.
    if "Payload" in kinds or "IncompleteRead" in kinds or "Disconnected" in kinds:
        return f"the download was cut short ({said}). Try again."
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE) or isinstance(error, FileNotFoundError):
        return "there is no such file, folder or bucket at this address. Check the address."
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return f"access is denied ({status}). {credentials} A presigned address may have expired."
    if "Credential" in kinds or "credential" in said.lower() or "Authentication" in kinds:
        return f"no credentials that are accepted were found ({said}). {credentials}"
    if isinstance(error, PermissionError):
        return f"access is denied ({said}). {credentials}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500:
        return f"the server answers {_words(status)}. Try again later."
    if status >= 400:
        return f"the server answers {_words(status)}. Check the address."
    if "Certificate" in kinds or "CERTIFICATE" in said:
        return (
            f"the server's TLS certificate cannot be trusted ({said}). If it is your own, name its "
            "authority in SSL_CERT_FILE."
        )
    if "SSL" in kinds:
        return f"no TLS connection can be made ({said}). Is the address one of http://?"
    if "Timeout" in kinds or "TimedOut" in kinds:
        return "the server does not answer in time. Check the address and the network."
    if "Connect" in kinds or "gaierror" in kinds or _is_network(error):
        return f"the server cannot be reached ({said}). Check the address and the network."
    return f"it cannot be fetched ({type(error).__name__}: {said}). Check the address."


def _chain(error: BaseException | None) -> list[BaseException]:
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _status(error: BaseException) -> int:
    """The HTTP status within an error of aiohttp, azure, gcsfs or botocore; else 0."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        metadata = response.get("ResponseMetadata")
        response = metadata.get("HTTPStatusCode") if isinstance(metadata, dict) else None
        if isinstance(response, int):
            return response
    for attribute in ("status", "status_code", "code"):
        value = getattr(error, attribute, None)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return 0


def _words(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _is_network(error: BaseException) -> bool:
    unreachable = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNRESET)
    return isinstance(error, OSError) and error.errno in unreachable
