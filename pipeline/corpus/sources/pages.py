"""What sources of web pages share: limits, the choice of extractor, and the way of one page.

bytes + declared charset -> text of HTML -> extractor -> document, quarantine or skip
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from pipeline.corpus.sources.charset import decode_page
from pipeline.corpus.sources.extraction import (
    Extractor,
    ExtractorName,
    Favor,
    Refusal,
    extractor_version,
)
from pipeline.corpus.sources.file_source import FileSource
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.records import Limits


class PageSource(FileSource):
    """Files that hold web pages."""

    extractor: ExtractorName = Field(
        "trafilatura",
        title="Extractor",
        description="`trafilatura` leaves out more of menus and footers; `resiliparse` is 7 times "
        "as fast.",
    )
    favor: Favor = Field(
        "balanced",
        title="Favour",
        description="What to prefer where the extractor is in doubt: `precision` (less noise) or "
        "`recall` (less loss).",
    )
    max_seconds: float = Field(
        10.0,
        gt=0.0,
        le=600.0,
        title="Time per page",
        description="CPU seconds of extraction after which a page is quarantined.",
    )
    max_page_bytes: int = Field(
        4 << 20,
        ge=1,
        le=1 << 28,
        title="Largest page",
        description="Bytes of the largest page taken; a larger one is quarantined.",
    )
    max_expansion_ratio: float = Field(
        250.0,
        gt=1.0,
        title="Largest expansion",
        description="Decompressed over compressed bytes at which reading a file stops.",
    )

    def identity(self) -> dict[str, Any]:
        """Also the extractor's version, which decides the text."""
        return {**super().identity(), "extractor_version": extractor_version(self.extractor)}

    def limits(self) -> Limits:
        """The bounds as the reader of blocks takes them."""
        return Limits(self.max_page_bytes, self.max_expansion_ratio)

    @contextmanager
    def page_reader(self, writer: PartWriter) -> Iterator["PageReader"]:
        """Reads pages for the length of a with-block."""
        with Extractor(self.extractor, self.favor, seconds=self.max_seconds) as extractor:
            yield PageReader(extractor, writer)


@dataclass(frozen=True)
class PageReader:
    """Text of one page after the other; counts what is no document."""

    extractor: Extractor
    writer: PartWriter

    def text_of(self, data: bytes, *, charset: str | None, file: str, position: str) -> str | None:
        """The text of an HTML page; None when it was quarantined or skipped."""
        html = self.decoded(data, charset=charset, file=file, position=position)
        if html is None:
            return None
        if not html.strip():
            self.writer.skip("empty_page")
            return None
        found = self.extractor.text_of(html)
        if isinstance(found, Refusal):
            self.writer.quarantine(file, position, found.reason, found.detail)
            return None
        if not found.strip():
            self.writer.skip("no_text")
            return None
        return found

    def decoded(self, data: bytes, *, charset: str | None, file: str, position: str) -> str | None:
        """The bytes as text; None when they are none, which is quarantined."""
        page = decode_page(data, charset)
        if not page.is_text:
            detail = f"{page.replaced} of {len(page.text)} characters are no {page.encoding}"
            self.writer.quarantine(file, position, "bad_encoding", detail)
            return None
        if page.encoding != "utf-8":
            self.writer.counts["recoded_pages"] += 1
        if page.replaced:
            self.writer.counts["repaired_pages"] += 1
        return page.text
