"""WARC and WET files, as crawlers and Common Crawl write them: one document per page.

response    HTTP response -> codings undone -> HTML -> extractor -> document
conversion  text made by others (WET) -> document
resource    a page without its HTTP headers -> as its media type says
"""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pipeline.corpus.sources.extraction import extractor_version
from pipeline.corpus.sources.fields import language_code
from pipeline.corpus.sources.file_source import open_input
from pipeline.corpus.sources.http_message import BadMessage, decoded_body, parse_response
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.pages import PageReader, PageSource
from pipeline.corpus.sources.part import PartWriter, RowWriter
from pipeline.corpus.sources.records import Break, Limits
from pipeline.corpus.sources.warc_records import Damage, WarcRecord, read_warc

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
TEXT_TYPES = frozenset({"text/plain"})
HTTP_HEADER_BYTES = 1 << 16  # a record may be this much longer than its page
SNIFFED_BYTES = 512


class WarcSource(PageSource):
    """Web archives (`.warc`, `.warc.gz`, `.wet`, `.wet.gz`), also with zstd; read in one piece."""

    suffixes_read: ClassVar[tuple[str, ...]] = (".warc", ".wet")
    kind: Literal["warc"] = "warc"

    def units(self, root: Path) -> list[InputUnit]:
        """One unit per file."""
        extractor_version(self.extractor)  # an absent one is said before anything is read
        return super().units(root)

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every page of the unit's files."""
        with self.page_reader(writer) as reader:
            for file in unit.files:
                parse_warc(self, file, reader)


def parse_warc(source: WarcSource, file: InputFile, reader: PageReader) -> None:
    """Read one archive; rows are the numbers of its records, from 0."""
    writer = reader.writer
    rows = writer.rows(file.name)
    limits = Limits(source.max_page_bytes + HTTP_HEADER_BYTES, source.max_expansion_ratio)
    is_empty = True
    with open_input(file) as handle:
        for record in read_warc(handle, file.name, limits):
            is_empty = False
            if isinstance(record, Break):
                writer.broken(file.name, "end of what is readable", record.reason, record.detail)
            elif isinstance(record, Damage):
                where = f"byte {record.offset}"
                writer.quarantine(file.name, where, record.reason, record.detail)
            else:
                _add_record(source, record, rows, reader)
    if is_empty:
        writer.skip("empty_file")


def _add_record(
    source: WarcSource, record: WarcRecord, rows: RowWriter, reader: PageReader
) -> None:
    if record.kind not in ("response", "conversion", "resource"):
        reader.writer.skip(f"warc_{record.kind}" if record.kind.isalpha() else "warc_other")
        return
    where = f"record {record.index} (byte {record.offset})"
    if record.body is None:
        detail = f"{record.num_bytes} bytes, the limit max_page_bytes is {source.max_page_bytes}"
        reader.writer.quarantine(rows.file, where, "page_too_large", detail)
        return
    if record.headers.get("warc-truncated"):
        reader.writer.counts["truncated_pages"] += 1
    text = _text_of(source, record, rows.file, where, reader)
    if text is not None:
        rows.add(text, record.index, metadata=_metadata(record))


def _text_of(
    source: WarcSource, record: WarcRecord, file: str, where: str, reader: PageReader
) -> str | None:
    """The text of a record's page; None when it was quarantined or skipped."""
    writer = reader.writer
    body = record.body or b""
    media_type = record.headers.get("content-type", "").partition(";")[0].strip().lower()
    charset: str | None = None
    if record.kind == "conversion":
        charset, media_type = "utf-8", media_type or "text/plain"
    elif media_type == "application/http":
        try:
            response = parse_response(body)
            if not 200 <= response.status < 300:
                writer.skip("http_status")
                return None
            body = decoded_body(response, source.max_page_bytes)
        except BadMessage as error:
            writer.quarantine(file, where, error.reason, error.detail)
            return None
        media_type, charset = response.media_type, response.charset
    if not body.strip():
        writer.skip("empty_page")
        return None
    if media_type in HTML_TYPES or (not media_type and _looks_like_html(body)):
        return reader.text_of(body, charset=charset, file=file, position=where)
    if media_type in TEXT_TYPES:
        return reader.decoded(body, charset=charset, file=file, position=where)
    writer.skip("other_media_type")
    return None


def _looks_like_html(body: bytes) -> bool:
    start = body[:SNIFFED_BYTES].lower()
    return b"<html" in start or b"<!doctype html" in start


def _metadata(record: WarcRecord) -> dict[str, Any]:
    """Address, time and, where an archive says it without doubt, language."""
    found: dict[str, Any] = {}
    if url := record.headers.get("warc-target-uri"):
        found["url"] = url.strip("<>")
    if time := record.headers.get("warc-date"):
        found["timestamp"] = time
    languages = record.headers.get("warc-identified-content-language", "").split(",")
    if len(languages) == 1 and (code := language_code(languages[0].strip())):
        found["language"] = code
    return found
