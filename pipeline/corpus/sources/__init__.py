"""All kinds of input; a new one is a file beside this one and a member of the union."""

from typing import Annotated

from pydantic import Field

from pipeline.corpus.sources.arrow import ArrowSource
from pipeline.corpus.sources.delimited import CsvSource
from pipeline.corpus.sources.html_pages import HtmlSource
from pipeline.corpus.sources.huggingface import HuggingFaceSource
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.pydocs import PydocsSource
from pipeline.corpus.sources.text import TextSource
from pipeline.corpus.sources.warc import WarcSource

AnySource = Annotated[
    JsonlSource
    | ParquetSource
    | ArrowSource
    | CsvSource
    | TextSource
    | HtmlSource
    | WarcSource
    | HuggingFaceSource
    | PydocsSource,
    Field(discriminator="kind"),
]
