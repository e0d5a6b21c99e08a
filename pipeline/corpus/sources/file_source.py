"""What sources of files share: where they lie, how they are opened, and the bounds on one of them.

FileSource          paths, storage options
  RecordSource      files cut into records by a separator, plain or compressed
"""

import codecs
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, ClassVar

from pydantic import Field, field_validator

from pipeline.corpus.sources.cuts import cut_records, is_cuttable
from pipeline.corpus.sources.files import find_files
from pipeline.corpus.sources.inputs import COMPRESSIONS, InputFile, InputUnit, Piece, has_suffix
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.records import Break, Limits, Record, read_records
from pipeline.corpus.sources.remote import check_options, open_remote
from pipeline.corpus.sources.unit import Source

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
COPY_BYTES = 1 << 20
SPLIT_BYTES = 256 << 20  # about a second of reading: little is lost when a worker dies


def open_input(file: InputFile) -> BinaryIO:
    """The bytes of a file, local or remote; OSError if it cannot be opened."""
    if file.is_url:
        return open_remote(file.path, file.options)
    return open(file.path, "rb")


@contextmanager
def open_seekable(file: InputFile) -> Iterator[BinaryIO]:
    """As `open_input`, for formats that are read from their end.

    A remote file that can only be read in one go is copied to a temporary file first.
    """
    with open_input(file) as handle:
        if not file.is_url or _seeks(handle):
            yield handle
            return
        with tempfile.TemporaryFile() as copy:
            shutil.copyfileobj(handle, copy, COPY_BYTES)
            copy.seek(0)
            yield copy


def _seeks(handle: BinaryIO) -> bool:
    try:
        handle.seek(1)
        handle.seek(0)
    except (OSError, ValueError, NotImplementedError):
        return False
    return True


class FileSource(Source):
    """Files on this machine, or wherever fsspec reaches."""

    suffixes_read: ClassVar[tuple[str, ...]] = ()
    """What is taken from directories."""
    reads_compressed: ClassVar[bool] = True

    paths: tuple[str, ...] = Field(
        title="Paths",
        description="Files, directories (searched recursively), globs, or URLs of these "
        "(`s3://`, `gs://`, `hf://`, `https://`...).",
    )
    storage_options: Mapping[str, str | int | float | bool] = Field(
        {},
        title="Storage options",
        description="How the driver of a URL is opened, e.g. `{anon: true}`; never credentials.",
    )

    @field_validator("storage_options")
    @classmethod
    def _no_secrets(
        cls, value: Mapping[str, str | int | float | bool]
    ) -> Mapping[str, str | int | float | bool]:
        check_options(value)
        return value

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Files enter by name and content."""
        return super().not_identity() | {"paths", "storage_options"}

    def suffixes_wanted(self) -> tuple[str, ...]:
        """What is taken from directories, without compressions."""
        return self.suffixes_read

    def found(self) -> list[InputFile]:
        """Every file that the paths name."""
        return find_files(
            self.paths,
            suffixes=self.suffixes_wanted(),
            source=self.name,
            compressed=self.reads_compressed,
            options=self.storage_options,
        )

    def units(self, root: Path) -> list[InputUnit]:
        """One unit per file."""
        return [InputUnit(file.name, (file,)) for file in self.found()]


class RecordSource(FileSource):
    """Files that are cut into records at a separator."""

    max_line_bytes: int = Field(
        16 << 20,
        ge=1,
        le=1 << 30,
        title="Longest record",
        description="Bytes of the longest record read; a longer one is quarantined.",
    )
    max_expansion_ratio: float = Field(
        250.0,
        gt=1.0,
        title="Largest expansion",
        description="Decompressed over compressed bytes at which reading a file stops.",
    )
    max_expanded_bytes: int = Field(
        1 << 40,
        ge=1,
        title="Largest file",
        description="Decompressed bytes at which reading a file stops.",
    )
    split_bytes: int = Field(
        SPLIT_BYTES,
        ge=1 << 10,
        title="Large file",
        description="Bytes from which a plain local file is read in pieces of this size, each a "
        "part of its own. Compressed and remote files are read in one piece.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """How a file was cut is in the units."""
        return super().not_identity() | {"split_bytes"}

    def limits(self) -> Limits:
        """The bounds as the reader of records takes them."""
        return Limits(self.max_line_bytes, self.max_expansion_ratio, self.max_expanded_bytes)

    def cut_at(self) -> bytes | None:
        """The separator large files may be cut at; None: at no byte for sure."""
        return b"\n"

    def cut_rule(self, file: InputFile) -> str | None:
        """Plain local files of more than `split_bytes` are cut at a separator."""
        separator = self.cut_at()
        plain = not file.is_url and not has_suffix(file.name, COMPRESSIONS)
        if not plain or separator is None or not is_cuttable(separator):
            return None
        if Path(file.path).stat().st_size <= self.split_bytes:
            return None
        return f"records {separator.hex()} {self.split_bytes}"

    def pieces(self, file: InputFile) -> list[Piece]:
        """Ranges of about `split_bytes` that end behind a separator."""
        separator = self.cut_at()
        assert separator is not None
        return cut_records(Path(file.path), separator=separator, split_bytes=self.split_bytes)

    def records(
        self,
        file: InputFile,
        writer: PartWriter,
        *,
        separator: bytes = b"\n",
        encoding: str = "utf-8",
        limits: Limits | None = None,
    ) -> Iterator[Record]:
        """The records within the limits; the others, and a break, go to quarantine."""
        length = file.stop - file.start if file.stop is not None else None
        with open_input(file) as handle:
            if file.start:
                handle.seek(file.start)
            for record in read_records(
                handle, file.name, limits=limits or self.limits(), separator=separator,
                encoding=encoding, length=length, first_row=file.first_row, first_byte=file.start,
            ):  # fmt: skip
                if isinstance(record, Break):
                    writer.broken(
                        file.name, "end of what is readable", record.reason, record.detail
                    )
                elif record.data is None:
                    writer.quarantine(
                        file.name, position(record), "too_long",
                        f"{record.num_bytes} bytes, the limit max_line_bytes is "
                        f"{self.max_line_bytes}",
                    )  # fmt: skip
                else:
                    yield record


class EncodedSource(RecordSource):
    """Files of text that may be in another encoding than UTF-8."""

    encoding: str = Field(
        "utf-8",
        title="Encoding",
        description="Encoding of the files as Python knows it: `gb18030`, `big5`, `shift_jis`, "
        "`utf-16`, `cp1252`... What is no text in it is quarantined.",
    )

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "".encode(value)  # refuses codecs that are not of text, `rot13` and `zlib`
            return codecs.lookup(value).name
        except LookupError as error:
            raise ValueError(f"encoding {value!r} is unknown to Python ({error})") from error

    def cut_at(self) -> bytes | None:
        """Only in UTF-8 is a byte that looks like a separator always one."""
        return super().cut_at() if self.encoding == "utf-8" else None


def position(record: Record) -> str:
    """Where a record is, as the quarantine says it; lines count from 1."""
    return f"line {record.index + 1} (byte {record.offset})"
