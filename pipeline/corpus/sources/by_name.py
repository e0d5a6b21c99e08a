"""Which kind of source reads a path, by its name alone."""

from pipeline.corpus.sources.arrow import ArrowSource
from pipeline.corpus.sources.delimited import CsvSource
from pipeline.corpus.sources.html_pages import HtmlSource
from pipeline.corpus.sources.inputs import COMPRESSIONS
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.warc import WarcSource

KINDS = (JsonlSource, ParquetSource, ArrowSource, CsvSource, HtmlSource, WarcSource)


def kind_of(path: str) -> str:
    """`jsonl` for `data/*.jsonl.gz`, `warc` for `x.warc.wet.gz`...; `text` where nothing tells."""
    plain = path.lower().partition("?")[0] if "://" in path else path.lower()
    for compression in COMPRESSIONS:
        plain = plain.removesuffix(compression)
    for source in KINDS:
        if plain.endswith(source.suffixes_read):
            return str(source.model_fields["kind"].default)
    return "text"
