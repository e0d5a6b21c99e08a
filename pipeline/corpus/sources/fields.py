"""Which field of a row is what: text, id and the well-known metadata, the same for every format."""

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from pydantic import Field, model_validator

from pipeline.corpus.languages.codes import TWO_LETTERS
from pipeline.corpus.sources.inputs import InputFile
from pipeline.corpus.sources.part import IdScope, PartWriter, RowWriter
from pipeline.corpus.sources.unit import Source

GIVEN_BY_THE_READER = ("file", "row")
_LANGUAGE = re.compile(r"([A-Za-z]{2,3})(?:[-_][A-Za-z0-9]{2,8})*")
# ISO 639-3 and 639-2/B codes that data sets use for languages that have a code of two letters.
THREE_LETTERS = {
    "afr": "af", "amh": "am", "ara": "ar", "arb": "ar", "aze": "az", "bel": "be", "ben": "bn",
    "bod": "bo", "bos": "bs", "bul": "bg", "cat": "ca", "ces": "cs", "chi": "zh", "cmn": "zh",
    "cym": "cy", "cze": "cs", "dan": "da", "deu": "de", "dut": "nl", "ell": "el", "eng": "en",
    "epo": "eo", "est": "et", "eus": "eu", "fas": "fa", "fin": "fi", "fra": "fr", "fre": "fr",
    "gle": "ga", "ger": "de", "glg": "gl", "gre": "el", "guj": "gu", "heb": "he", "hin": "hi",
    "hrv": "hr", "hun": "hu", "hye": "hy", "ind": "id", "isl": "is", "ita": "it", "jpn": "ja",
    "kan": "kn", "kat": "ka", "kaz": "kk", "khm": "km", "kir": "ky", "kor": "ko", "lao": "lo",
    "lat": "la", "lav": "lv", "lit": "lt", "mal": "ml", "mar": "mr", "mkd": "mk", "mon": "mn",
    "msa": "ms", "mya": "my", "nep": "ne", "nld": "nl", "nob": "no", "nor": "no", "pan": "pa",
    "per": "fa", "pes": "fa", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru",
    "sin": "si", "slk": "sk", "slv": "sl", "som": "so", "spa": "es", "sqi": "sq", "srp": "sr",
    "swa": "sw", "swe": "sv", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr",
    "uig": "ug", "ukr": "uk", "urd": "ur", "uzb": "uz", "vie": "vi", "yid": "yi", "zho": "zh",
}  # fmt: skip


class FieldSource(Source):
    """What sources of rows with named fields share."""

    text_field: str = Field(
        "text", min_length=1, title="Text field", description="Field that holds the text."
    )
    id_field: str = Field(
        "id",
        min_length=1,
        title="Id field",
        description="Field that holds the id; absent: `<source>/<file stem>/<row>`.",
    )
    ids: IdScope = Field(
        "file",
        title="Ids are unique per",
        description="`file`: source and file are put before each id. `corpus`: ids are taken as "
        "they are, and the run stops if one occurs in two files.",
    )
    url_field: str = Field(
        "url", min_length=1, title="URL field", description="Field that holds the address, if any."
    )
    language_field: str = Field(
        "language",
        min_length=1,
        title="Language field",
        description="Field that holds the language code, if any; it wins over detection.",
    )
    timestamp_field: str = Field(
        "timestamp",
        min_length=1,
        title="Timestamp field",
        description="Field that holds the time of the text, if any.",
    )
    metadata_fields: tuple[str, ...] = Field(
        (), title="Metadata fields", description="Fields kept as metadata of the document."
    )

    @model_validator(mode="after")
    def _file_and_row_are_ours(self) -> "FieldSource":
        for name in GIVEN_BY_THE_READER:
            if name in self.metadata_fields:
                raise ValueError(f"metadata_fields names {name!r}, which says where a row was read")
        return self

    def row_writer(self, file: InputFile, writer: PartWriter) -> RowWriter:
        """Where the rows of `file` go."""
        return writer.rows(
            file.name, scope=self.ids, segment=file.segment, first_row=file.first_row
        )

    def fields(self) -> tuple[str, ...]:
        """Every field that is read, each once, the text first."""
        asked = (
            self.text_field, self.id_field, self.url_field, self.language_field,
            self.timestamp_field, *self.metadata_fields,
        )  # fmt: skip
        return tuple(dict.fromkeys(asked))

    def metadata_of(self, row: Mapping[str, Any], writer: PartWriter) -> dict[str, Any] | None:
        """The well-known and the asked-for metadata of a row; None where there is none."""
        url = row.get(self.url_field)
        language = row.get(self.language_field)
        timestamp = row.get(self.timestamp_field)
        kept = self.metadata_fields
        if url is None and language is None and timestamp is None and not kept:
            return None
        found = {name: row[name] for name in kept if name in row}
        if isinstance(url, str):
            found["url"] = url
        if timestamp is not None and (time := _time_of(timestamp)) is not None:
            found["timestamp"] = time
        if language is not None:
            if code := language_code(language):
                found["language"] = code
            else:
                found.pop("language", None)
                writer.counts["unknown_languages"] += 1
        return found


def language_code(value: Any) -> str | None:
    """ISO 639-1 code of `en`, `en-US`, `eng`, `zho_Hans`...; None for what is no language code."""
    match = _LANGUAGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    code = match[1].lower()
    return THREE_LETTERS.get(code) if len(code) == 3 else code if code in TWO_LETTERS else None


def _time_of(value: Any) -> str | None:
    """ISO 8601 for times, the number or text as it is otherwise."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    return None


def id_of(value: Any, writer: PartWriter) -> str | None:
    """The id as a string; None where it is absent or of a type no id has (counted)."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    writer.counts["replaced_ids"] += 1
    return None
