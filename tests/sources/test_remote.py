import functools
import gzip
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.corpus.sources.arrow import ArrowSource
from pipeline.corpus.sources.delimited import CsvSource
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.remote import PACKAGES, checksum_of, redacted
from pipeline.corpus.sources.text import TextSource
from pipeline.store.errors import ConfigError, DataError
from tests.sources.conftest import Read

Reader = Callable[..., Read]
ROW = b'{"id": "a", "text": "alpha"}\n'


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    """fsspec's file system in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Files with ETags and byte ranges left out, as a plain server does."""

    etags = True

    def end_headers(self) -> None:
        path = Path(self.translate_path(self.path))
        if self.etags and path.is_file():
            self.send_header("ETag", f'"{hash(path.read_bytes())}"')
        super().end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(directory, URL) of a local HTTP server."""
    home = tmp_path / "www"
    home.mkdir()
    handler = functools.partial(_Handler, directory=str(home))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield home, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def jsonl(*paths: str, **settings: object) -> JsonlSource:
    return JsonlSource(name="web", paths=paths, **settings)


def test_files_directories_and_globs_of_a_url_are_read(
    memory: fsspec.AbstractFileSystem, read: Reader
) -> None:
    memory.pipe("/in/deep/a.jsonl", ROW)
    memory.pipe("/in/b.jsonl.gz", gzip.compress(ROW))
    memory.pipe("/in/.hidden.jsonl", ROW)
    memory.pipe("/in/image.png", b"\x89PNG")
    everything = ["web/b/a", "web/deep/a/a"]
    assert list(read(jsonl("memory://in")).documents) == everything
    assert sorted(read(jsonl("memory://in/**/*.jsonl", "memory://in/b.jsonl.gz")).documents) == (
        everything
    )
    assert list(read(jsonl("memory://in/deep/a.jsonl")).documents) == ["web/a/a"]


def test_every_kind_of_file_is_read_from_a_url(
    memory: fsspec.AbstractFileSystem, read: Reader, tmp_path: Path
) -> None:
    table = pa.table({"text": ["t"]})
    pq.write_table(table, tmp_path / "x.parquet")
    with pa.ipc.new_file(str(tmp_path / "x.arrow"), table.schema) as writer:
        writer.write_table(table)
    (tmp_path / "x.csv").write_text("text\nt\n")
    (tmp_path / "x.txt").write_text("t")
    for kind, suffix in (
        (ParquetSource, "parquet"), (ArrowSource, "arrow"), (CsvSource, "csv"), (TextSource, "txt"),
    ):  # fmt: skip
        memory.pipe(f"/in/x.{suffix}", (tmp_path / f"x.{suffix}").read_bytes())
        result = read(kind(name=suffix, paths=(f"memory://in/x.{suffix}",)))
        assert list(result.documents.values()) == ["t"]


def test_changed_remote_file_is_read_again_and_an_unchanged_one_is_not(
    memory: fsspec.AbstractFileSystem, read: Reader
) -> None:
    memory.pipe("/in/a.jsonl", ROW)
    first = read(jsonl("memory://in"))
    assert read(jsonl("memory://in")).fingerprints == first.fingerprints
    memory.pipe("/in/a.jsonl", ROW + ROW)
    assert read(jsonl("memory://in")).fingerprints != first.fingerprints


@pytest.mark.parametrize("etags", [True, False])
def test_web_files_are_known_by_etag_or_content(
    web: tuple[Path, str], read: Reader, etags: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Handler, "etags", etags)
    home, url = web
    (home / "a.jsonl").write_bytes(ROW)
    (home / "b.jsonl.gz").write_bytes(gzip.compress(ROW))
    first = read(jsonl(f"{url}/a.jsonl", f"{url}/b.jsonl.gz"))
    assert list(first.documents) == ["web/a/a", "web/b/a"]
    assert read(jsonl(f"{url}/a.jsonl", f"{url}/b.jsonl.gz")).fingerprints == first.fingerprints
    (home / "a.jsonl").write_bytes(ROW.replace(b"alpha", b"gamma"))
    assert list(read(jsonl(f"{url}/a.jsonl")).documents.values()) == ["gamma"]


def test_parquet_is_read_from_a_server_that_cannot_seek(
    web: tuple[Path, str], read: Reader
) -> None:
    home, url = web
    pq.write_table(pa.table({"text": ["t"] * 1000}), home / "x.parquet")
    result = read(ParquetSource(name="p", paths=(f"{url}/x.parquet",)))
    assert len(result.documents) == 1000


@pytest.mark.parametrize(
    "path", ["memory://absent", "memory://in/*.jsonl", "http://127.0.0.1:9/a.jsonl"]
)
def test_missing_remote_input_is_a_data_error_that_names_it(
    memory: fsspec.AbstractFileSystem, read: Reader, path: str
) -> None:
    with pytest.raises(DataError, match="source 'web'.*" + path.split("://")[1].split("*")[0]):
        read(jsonl(path))


def test_web_file_that_is_not_there_is_a_data_error(web: tuple[Path, str], read: Reader) -> None:
    with pytest.raises(DataError, match=r"nothing\.jsonl"):
        read(jsonl(f"{web[1]}/nothing.jsonl"))


@pytest.mark.parametrize("protocol", ["s3", "gs", "abfs"])
def test_absent_driver_is_named_with_its_package(read: Reader, protocol: str) -> None:
    package = PACKAGES[protocol]
    if __import__("importlib.util").util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ConfigError, match=f"{protocol}://.*pip install {package}"):
        read(jsonl(f"{protocol}://bucket/x.jsonl"))


def test_unknown_protocol_is_a_config_error(read: Reader) -> None:
    with pytest.raises(ConfigError, match="gopher://"):
        read(jsonl("gopher://host/x.jsonl"))


def test_credentials_stay_out_of_settings_and_messages() -> None:
    for name in ("key", "secret", "aws_secret_access_key", "token", "password"):
        with pytest.raises(ValidationError, match="credentials"):
            jsonl("s3://b/x", storage_options={name: "x"})
    assert jsonl("s3://b/x", storage_options={"anon": True}).storage_options == {"anon": True}
    assert redacted("https://me:pw@host/a?sig=1") == "https://host/a"


def test_storage_options_reach_the_driver_and_are_no_identity(
    memory: fsspec.AbstractFileSystem, read: Reader
) -> None:
    memory.pipe("/in/a.jsonl", ROW)
    plain = read(jsonl("memory://in"))
    other = read(jsonl("memory://in", storage_options={"skip_instance_cache": True}))
    assert other.fingerprints == plain.fingerprints


def test_strong_checksums_are_taken_and_weak_ones_are_not() -> None:
    assert checksum_of({"ETag": '"abc"'}) == "etag:abc"
    assert checksum_of({"ETag": 'W/"abc"'}) is None
    assert checksum_of({"lfs": {"sha256": "1f"}, "blob_id": "x"}) == "sha256:1f"
    assert checksum_of({"mtime": 5, "size": 3}) is None


def test_file_url_is_a_local_path(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "a.jsonl").write_bytes(ROW)
    here = read(jsonl(str(tmp_path / "a.jsonl")))
    assert read(jsonl(f"file://{tmp_path}/a.jsonl")).fingerprints == here.fingerprints
