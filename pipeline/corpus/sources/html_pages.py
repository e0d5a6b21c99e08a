"""HTML files: one page, one document; the extractor takes the text out."""

from pathlib import Path
from typing import ClassVar, Literal

from pipeline.corpus.sources.buckets import bucketed
from pipeline.corpus.sources.extraction import extractor_version
from pipeline.corpus.sources.file_source import open_input
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.pages import PageReader, PageSource
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.records import Break, read_records

WHOLE = b"\x00</html>\x00"  # no page holds this: the file is one record


class HtmlSource(PageSource):
    """HTML files (`.html`, `.htm`, `.xhtml`, also compressed)."""

    suffixes_read: ClassVar[tuple[str, ...]] = (".html", ".htm", ".xhtml")
    kind: Literal["html"] = "html"

    def units(self, root: Path) -> list[InputUnit]:
        """Many files in few parts."""
        extractor_version(self.extractor)  # an absent one is said before anything is read
        return bucketed(self.found())

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every page of the unit's files."""
        with self.page_reader(writer) as reader:
            for file in unit.files:
                _add_page(self, file, reader)


def _add_page(source: HtmlSource, file: InputFile, reader: PageReader) -> None:
    writer = reader.writer
    with open_input(file) as handle:
        records = list(read_records(handle, file.name, limits=source.limits(), separator=WHOLE))
    if not records:
        writer.skip("empty_file")
        return
    first = records[0]
    broken = next((record for record in records if isinstance(record, Break)), None)
    if broken is not None:
        writer.broken(file.name, "file", broken.reason, broken.detail)
        return
    assert not isinstance(first, Break)
    if first.data is None:
        detail = f"{first.num_bytes} bytes, the limit max_page_bytes is {source.max_page_bytes}"
        writer.quarantine(file.name, "file", "page_too_large", detail)
        return
    text = reader.text_of(first.data, charset=None, file=file.name, position="file")
    if text is not None:
        writer.rows(file.name).add_whole(text)
