"""Credentials do not belong in settings, which are stored and shown; texts that quote them are cut.

https://me:password@host/x      refused in settings, shown as https://...@host/x
https://host/x?X-Amz-Signature= likewise
hf_..., ghp_..., AKIA...        keys that say of themselves what they are: likewise
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_USER_INFO = re.compile(r"(?<=://)[^/?#\s@'\"]*@")
_SIGNED = re.compile(
    r"(?i)(?<=[?&])([\w-]*(?:signature|token|secret|password|passwd|credential|api_?key|sig)[\w-]*)"
    r"=[^&\s'\"#]+"
)
# As GitHub's list of secret scanning patterns describes the keys of Hugging Face, GitHub, GitLab,
# Slack, AWS, Google and OpenAI; JSON Web Tokens by RFC 7519, private keys by RFC 7468.
_KEYS = (
    r"\bhf_[A-Za-z0-9]{30}|\bgh[opsur]_[A-Za-z0-9]{36}|\bgithub_pat_[A-Za-z0-9_]{50}"
    r"|\bglpat-[A-Za-z0-9_-]{20}|\bxox[abprs]-[A-Za-z0-9-]{10}|\b(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|\bAIza[A-Za-z0-9_-]{35}|\bsk-[A-Za-z0-9_-]{32}"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}|-----BEGIN [A-Z ]*PRIVATE KEY"
)
_KEY = re.compile(rf"(?:{_KEYS})[^\s'\"]*")
SECRET_PATTERN = (
    # What is not matched is shown by its pattern: this first branch is there to be read.
    r"a password, key or signed address would be stored and shown here, so it is refused"
    r"|://[^/?#\s@]*:[^/?#\s@]*@"
    r"|[?&][A-Za-z0-9_-]*([Ss]ignature|[Tt]oken|[Ss]ecret|[Pp]assword|[Cc]redential|[Aa]pi_?[Kk]ey|[Ss]ig)"
    rf"[A-Za-z0-9_-]*=|{_KEYS}"
)
"""Most of what `holds_credentials` finds, for schemas: understood by Python and ECMAScript."""
_NO_PASSWORD_NEEDED = re.compile(r"(?i)\b(?:s?ftp|ssh|hdfs|webhdfs|file|memory|postgresql|mysql)")
REMOVED = "(removed: it held credentials)"
REMEDY = (
    "settings are stored and shown: leave user and password out; MLflow takes "
    "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, PostgreSQL PGPASSWORD or ~/.pgpass, "
    "storage drivers their own variables and files"
)


def redacted(text: str) -> str:
    """`text` with keys, and the user, password and signatures of every URL, replaced by dots."""
    return _KEY.sub("...", _SIGNED.sub(r"\1=...", _USER_INFO.sub("...@", text)))


def holds_credentials(text: str) -> bool:
    """Whether `text` holds a key, or a URL with a password, a token as its user, or a signature.

    A bare user name is none where drivers need one: `sftp://me@host/`.
    """
    if _SIGNED.search(text) or _KEY.search(text):
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


def without_credentials(settings: Any) -> Any:
    """The same settings, every text that holds credentials replaced by a word that says so."""
    if isinstance(settings, str):
        return REMOVED if holds_credentials(settings) else settings
    if isinstance(settings, Mapping):
        return {key: without_credentials(value) for key, value in settings.items()}
    if isinstance(settings, Sequence):
        return [without_credentials(value) for value in settings]
    return settings
