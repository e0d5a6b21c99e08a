"""Credentials do not belong in settings, which are stored and shown; texts that quote them are cut.

https://me:password@host/x      refused in settings, shown as https://...@host/x
https://host/x?X-Amz-Signature= likewise
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_USER_INFO = re.compile(r"(?<=://)[^/?#\s@'\"]*@")
_SIGNED = re.compile(
    r"(?i)(?<=[?&])([\w-]*(?:signature|token|secret|password|passwd|credential|api_?key|sig)[\w-]*)"
    r"=[^&\s'\"#]+"
)
_NO_PASSWORD_NEEDED = re.compile(r"(?i)\b(?:s?ftp|ssh|hdfs|webhdfs|file|memory|postgresql|mysql)")
REMEDY = (
    "settings are stored and shown: leave user and password out; MLflow takes "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PostgreSQL PGPASSWORD or ~/.pgpass, "
    "storage drivers their own variables and files"
)


def redacted(text: str) -> str:
    """`text` with the user, password and signatures of every URL in it replaced by dots."""
    return _SIGNED.sub(r"\1=...", _USER_INFO.sub("...@", text))


def holds_credentials(text: str) -> bool:
    """Whether a URL in `text` carries a password, a token as its user, or a signature.

    A bare user name is none where drivers need one: `sftp://me@host/`.
    """
    if _SIGNED.search(text):
        return True
    for found in _USER_INFO.finditer(text):
        scheme = text[: found.start()].rpartition("://")[0].split()[-1:] or [""]
        if ":" in found.group() or not _NO_PASSWORD_NEEDED.search(scheme[0]):
            return True
    return False


def keys_with_credentials(settings: Any, prefix: str = "") -> Iterator[str]:
    """`tracking.uri`, `clean.sources.0.paths.1`: where in nested settings they stand."""
    if isinstance(settings, str):
        if holds_credentials(settings):
            yield prefix
    elif isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from keys_with_credentials(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(settings, Sequence):
        for place, value in enumerate(settings):
            yield from keys_with_credentials(value, f"{prefix}.{place}")
