"""Plain text: one document per file, or many where a separator says so.

Small files share parts: names are hashed into a power of two of buckets, so adding one file to a
directory rebuilds one part.
"""

import hashlib
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.corpus.sources.files import find_files, stem
from pipeline.corpus.sources.jsonl import BYTE_ORDER_MARK, RecordSource, position
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.unit import InputFile, InputUnit

FILES_PER_PART = 512
LARGE_FILE_BYTES = 32 << 20  # from here on a file is a part of its own


class TextSource(RecordSource):
    """Text files (`.txt`, `.md`, `.rst`, also compressed), UTF-8."""

    kind: Literal["text"] = "text"
    suffixes: tuple[str, ...] = Field(
        (".txt", ".md", ".rst"), title="Suffixes", description="What to take from directories."
    )
    separator: str | None = Field(
        None,
        min_length=1,
        title="Separator",
        description="Text between documents of one file, e.g. `<|endoftext|>`; absent: none.",
    )

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Suffixes only choose files."""
        return super().not_identity() | {"suffixes"}

    def units(self, root: Path) -> list[InputUnit]:
        """Large files alone, small ones in buckets."""
        files = find_files(self.paths, suffixes=self.suffixes, source=self.name)
        large = [f for f in files if Path(f.path).stat().st_size >= LARGE_FILE_BYTES]
        small = [f for f in files if f not in set(large)]
        units = [InputUnit(file.name, (file,)) for file in large]
        if len(small) == 1:
            return [*units, InputUnit(small[0].name, tuple(small))]
        return [*units, *_buckets(small)]

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every document of the unit's files."""
        parse_text(self, unit, writer)


def parse_text(source: TextSource, unit: InputUnit, writer: PartWriter) -> None:
    """Read one unit of text files; ids are `<file stem>` or `<file stem>/<n>` with a separator."""
    separator = source.separator.encode("utf-8") if source.separator is not None else None
    for file in unit.files:
        # Without a separator the whole file is one record: no byte of valid UTF-8 is 0xff.
        for record in source.records(file, writer, separator=separator or b"\xff\xff\xff\xff"):
            data = record.data or b""
            if record.index == 0:
                data = data.removeprefix(BYTE_ORDER_MARK)
            if separator is not None and not data.strip():
                continue
            try:
                text = data.decode("utf-8")
            except UnicodeDecodeError as error:
                utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
                detail = "UTF-16; convert it to UTF-8" if utf16 else str(error)
                writer.quarantine(file.name, position(record), "invalid_utf8", detail)
                continue
            row = "" if separator is None else f"/{record.index}"
            writer.add(text, doc_id=None, fallback_id=stem(file.name) + row)


def _buckets(files: list[InputFile]) -> list[InputUnit]:
    """Files spread over 2^k named buckets by the hash of their name, k by their number."""
    bits = max(0, (len(files) // FILES_PER_PART).bit_length())
    buckets: dict[int, list[InputFile]] = {}
    for file in files:
        digest = hashlib.sha256(file.name.encode("utf-8", "surrogatepass")).digest()
        buckets.setdefault(int.from_bytes(digest[:8], "big") >> (64 - bits), []).append(file)
    return [
        InputUnit(f"{number}of{1 << bits}", tuple(buckets[number])) for number in sorted(buckets)
    ]
