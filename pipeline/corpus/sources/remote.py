"""Files elsewhere, through fsspec: s3://, gs://, hf://, http(s)://, memory:// and the others.

    URL, directory or glob -> (URL, name below it, size, checksum if the store knows one)

Drivers take their credentials from their own environment and files, never from our settings.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from pipeline.corpus.sources.inputs import has_suffix
from pipeline.store.errors import ConfigError, DataError

# Package that brings the driver of a protocol, as pip knows it.
PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "hf": "huggingface_hub",
    "http": "aiohttp", "https": "aiohttp", "abfs": "adlfs", "az": "adlfs", "adl": "adlfs",
    "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "oss": "ossfs", "oci": "ocifs",
    "dropbox": "dropboxdrivefs", "webhdfs": "requests", "github": "requests",
}  # fmt: skip
# What stores call the checksum of a file's content. Times and weak ETags say less than bytes do.
CHECKSUMS = (
    "ETag", "etag", "md5Hash", "crc32c", "content_settings_md5", "Content-MD5", "sha256",
    "blob_id", "md5", "checksum",
)  # fmt: skip
SECRETS = ("key", "secret", "token", "password", "passwd", "credential", "sas")


@dataclass(frozen=True)
class RemoteFile:
    """One file as its store describes it."""

    url: str
    name: str
    num_bytes: int | None
    checksum: str | None
    """`<kind>:<value>`; None: only its bytes tell."""


def find_remote(
    url: str, wanted: tuple[str, ...], *, source: str, options: Mapping[str, Any]
) -> list[RemoteFile]:
    """The files that a URL names: one file, a directory or a glob, sorted by name.

    DataError if nothing is there, ConfigError if the driver is not installed.
    """
    system, path = _open_system(url, source=source, options=options)
    system.invalidate_cache()  # a driver remembers listings for as long as the process lives
    protocol = url.split("://", 1)[0]
    try:
        found = list(_expand(system, protocol, path, wanted))
    except ImportError as error:
        raise _absent(protocol, source, error) from error
    except Exception as error:
        # Every driver has exceptions of its own, which cannot be named without importing it.
        raise DataError(
            f"source {source!r}: {redacted(url)} cannot be listed "
            f"({type(error).__name__}: {str(error)[:200]}); check the URL, the network and the "
            "credentials in the environment"
        ) from error
    if not found:
        raise DataError(
            f"source {source!r}: no file at {redacted(url)} "
            f"(directories are searched for names ending in {', '.join(wanted)})"
        )
    return found


def open_remote(url: str, options: Mapping[str, Any]) -> BinaryIO:
    """A stream that can seek; its errors are OSErrors, which may be tried again."""
    import fsspec  # here: a third of a second, and only remote input needs it

    system, path = fsspec.core.url_to_fs(url, **options)
    try:
        return system.open(path, "rb", cache_type="readahead", block_size=5 << 20)
    except (OSError, ImportError, ValueError):
        raise
    except Exception as error:
        raise OSError(f"{redacted(url)}: {type(error).__name__}: {error}") from error


def describe_remote(url: str, options: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """(size, checksum) of one file now."""
    import fsspec  # here: a third of a second, and only remote input needs it

    system, path = fsspec.core.url_to_fs(url, **options)
    system.invalidate_cache()
    facts = system.info(path)
    return facts.get("size"), checksum_of(facts)


def checksum_of(facts: Mapping[str, Any]) -> str | None:
    """The strongest name of the content in what a store tells about a file."""
    large = facts.get("lfs")
    if isinstance(large, Mapping) and large.get("sha256"):
        return f"sha256:{large['sha256']}"
    for kind in CHECKSUMS:
        value = facts.get(kind)
        if isinstance(value, str) and value and not value.startswith("W/"):
            return f"{kind.lower()}:{value.strip(chr(34))}"
    return None


def check_options(options: Mapping[str, Any]) -> None:
    """ValueError for what must not stand in a configuration that is stored and shown."""
    for name in options:
        if any(word in name.lower() for word in SECRETS):
            raise ValueError(
                f"storage_options has {name!r}: settings are stored and shown; leave credentials "
                "to the driver's own environment variables or files"
            )


def redacted(url: str) -> str:
    """The URL without user, password and query."""
    protocol, _, rest = url.partition("://")
    head, slash, tail = rest.partition("/")
    return f"{protocol}://{head.rpartition('@')[2]}{slash}{tail.partition('?')[0]}"


def _open_system(url: str, *, source: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    import fsspec  # here: a third of a second, and only remote input needs it

    protocol = url.split("://", 1)[0]
    try:
        return fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise _absent(protocol, source, error) from error
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"source {source!r}: {redacted(url)} cannot be opened ({error})"
        ) from error


def _absent(protocol: str, source: str, error: ImportError) -> ConfigError:
    package = PACKAGES.get(protocol, "")
    remedy = f"pip install {package}" if package else str(error)
    return ConfigError(
        f"source {source!r}: {protocol}:// needs a driver that is not installed; {remedy}"
    )


def _expand(system: Any, protocol: str, path: str, wanted: tuple[str, ...]) -> Iterator[RemoteFile]:
    magic = any(character in path for character in "*?[")
    is_web = protocol in ("http", "https")
    if is_web and not magic and not path.endswith("/"):
        yield _described(system, protocol, path, path.rpartition("/")[2].partition("?")[0])
    elif magic and not (is_web and "?" in path and "*" not in path and "[" not in path):
        base = path[: min(path.index(c) for c in "*?[" if c in path)].rpartition("/")[0]
        for match in sorted(system.glob(path)):
            name = match[len(base) :].lstrip("/")
            if system.isfile(match) and not _hidden(name):
                yield _described(system, protocol, match, name)
    elif not is_web and system.isfile(path):
        yield _described(system, protocol, path, path.rpartition("/")[2])
    else:
        base = path.rstrip("/")
        for match in sorted(system.find(path)):
            name = match[len(base) :].lstrip("/") if match.startswith(base) else match
            if has_suffix(name, wanted) and not _hidden(name):
                yield _described(system, protocol, match, name)


def _hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _described(system: Any, protocol: str, path: str, name: str) -> RemoteFile:
    facts = system.info(path)
    size = facts.get("size")
    return RemoteFile(
        system.unstrip_protocol(path), name or "file",
        int(size) if size is not None else None, checksum_of(facts),
    )  # fmt: skip
