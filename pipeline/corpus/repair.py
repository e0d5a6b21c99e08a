r"""Unicode repair: what was broken on the way to us is mended, what an author wrote is left alone.

    mojibake -> undone (ftfy)        \r\n, \x0b, \x0c, U+0085, U+2028/9 -> \n
    decomposed letters -> NFC        NUL, controls, BOM, zero-width, bidi marks -> gone
    lone surrogates -> U+FFFD           &amp; -> &, if asked for

Never NFKC: it would fold full-width punctuation, ligatures and superscripts. A look at the bytes
first tells what can be wrong at all; most texts are returned as they came. Repair is idempotent.
"""

import html
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from html.entities import html5

import ftfy
import numpy as np
import pyarrow.compute as pc
from ftfy.badness import is_bad
from pydantic import BaseModel, ConfigDict, Field

from pipeline.corpus.document import TextBatch
from pipeline.corpus.repair_kernel import NEIGHBOURS, NON_ASCII, SUSPICIOUS, flag_texts

MAX_PASSES = 5  # text garbled twice needs two; five has never been seen

_NEWLINES = re.compile("\r\n|[\r\x0b\x0c\x85\u2028]")
# Only with a semicolon: browsers also take `&copy` in `?a=1&copy=2` for a sign.
_ENTITY = re.compile("&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_AMPERSANDS = re.compile("&(?:(?:amp|AMP|#38|#x26);)+")  # escaped again and again
_SURROGATES = re.compile("[\ud800-\udfff]")
_FLAG = "\U0001f3f4[\U000e0020-\U000e007f]+"  # black flag + tags: the flags of England, Scotland...
# Controls, soft hyphen, zero-width space, word joiner, invisible operators, bidi marks, BOM,
# interlinear annotation, non-characters, tags outside flags.
_INVISIBLE = re.compile(
    f"({_FLAG})|[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufdd0-\ufdef\ufeff\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]+"
)
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufdd0-\ufdef\ufffe\uffff]+")
_JOINERS = re.compile("[\u200c\u200d]+")
# Joiners shape letters in these scripts (Arabic, the Indic scripts, Khmer, Mongolian...).
_JOINING_SCRIPTS = re.compile(
    "[\u0600-\u08ff\u0900-\u0dff\u0e00-\u0fff\u1000-\u109f\u1780-\u18af\u1900-\u1cff"
    "\ua840-\ua87f\ua8e0-\ua8ff\ua980-\uaaff\uabc0-\uabff\ufb50-\ufdcf\ufe70-\ufefc"
    "\U00010a00-\U00011fff]"
)
_EMOJI = re.compile("[\u2190-\u2bff\ufe0f\U0001f000-\U0001faff]")


class RepairConfig(BaseModel):
    """What Unicode repair may change; newlines, controls and surrogates are always normalised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mojibake: bool = Field(
        True, title="Undo mojibake", description="Turn â€™ back into ’ where the damage is certain."
    )
    invisible: bool = Field(
        True,
        title="Remove invisible characters",
        description="Zero-width spaces, soft hyphens, bidi marks, BOMs; joiners stay where needed.",
    )

    entities: bool = Field(
        False,
        title="Decode HTML entities",
        description="&amp; -> &, &#39; -> ', also where escaped repeatedly. Off: code and text "
        "about HTML mean them.",
    )

    def apply(self, batch: TextBatch) -> tuple[TextBatch, dict[str, int]]:
        """The batch with repaired texts, and how many documents each kind of repair changed."""
        counts: Counter[str] = Counter()
        suspects = _suspects(batch, self)
        if not len(suspects):
            return batch, {}
        texts = list(batch.texts)
        for row in suspects:
            outcome = repair_text(texts[row], self)
            counts.update(outcome.kinds)
            texts[row] = outcome.text
        return (batch.with_texts(texts) if counts else batch), dict(sorted(counts.items()))


@dataclass(frozen=True)
class Repaired:
    """A repaired text and the kinds of repair that changed it."""

    text: str
    kinds: tuple[str, ...] = ()


def repair_text(text: str, config: RepairConfig) -> Repaired:
    """Repair one text; repairing the result again changes nothing."""
    kinds: Counter[str] = Counter()
    for _ in range(MAX_PASSES):
        once = _one_pass(text, config, kinds)
        if once == text:
            break
        text = once
    return Repaired(text, tuple(sorted(kinds)))


def normalise_newlines(text: str) -> str:
    r"""Every line end becomes `\n`; a paragraph separator becomes a blank line."""
    if "\u2029" in text:
        text = text.replace("\u2029", "\n\n")
    return _NEWLINES.sub("\n", text)


def _one_pass(text: str, config: RepairConfig, kinds: Counter[str]) -> str:
    for kind in ("surrogates", "entities", "mojibake", "newlines", "invisible", "nfc"):
        after = _step(kind, text, config)
        if after != text:
            kinds[kind] += 1
        text = after
    return text


def _step(kind: str, text: str, config: RepairConfig) -> str:
    if kind == "surrogates":
        return _SURROGATES.sub("\ufffd", text)
    if kind == "entities":
        return _decode_entities(text) if config.entities and "&" in text else text
    if kind == "mojibake":
        return _undo_mojibake(text) if config.mojibake and not text.isascii() else text
    if kind == "newlines":
        return normalise_newlines(text)
    if kind == "invisible":
        return _drop_invisible(text, everything=config.invisible)
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _suspects(batch: TextBatch, config: RepairConfig) -> list[int]:
    """Rows that a repair may change; all others are sound."""
    flags = np.zeros(len(batch), np.uint8)
    flag_texts(batch.data, batch.offsets, flags)
    surely = flags & SUSPICIOUS != 0
    for row in np.flatnonzero((flags & NON_ASCII != 0) & ~surely).tolist():
        text = batch.text_array[row].as_py()
        garbled = config.mojibake and flags[row] & NEIGHBOURS and _undo_mojibake(text) != text
        surely[row] = garbled or not unicodedata.is_normalized("NFC", text)
    if config.entities:
        coded = pc.match_substring_regex(batch.text_array, "&[#A-Za-z]")
        surely |= coded.to_numpy(zero_copy_only=False)
    rows: list[int] = np.flatnonzero(surely).tolist()
    return rows


def _decode_entities(text: str) -> str:
    """The characters that complete entities stand for; unknown names stay as they are."""
    text = _AMPERSANDS.sub("&amp;", text)
    return _ENTITY.sub(_character, text)


def _character(match: re.Match[str]) -> str:
    entity = match.group()
    # `unescape` alone would take `&notit;` for a sign and two letters.
    return html.unescape(entity) if entity[1] == "#" else html5.get(entity[1:], entity)


def _undo_mojibake(text: str) -> str:
    """Line by line: a text may mix damaged lines with sound ones."""
    if not _may_be_mojibake(text) or not is_bad(text):
        return text
    return "\n".join(ftfy.fix_encoding(line) if is_bad(line) else line for line in text.split("\n"))


def _may_be_mojibake(text: str) -> bool:
    """Garbled UTF-8 shows as neighbouring non-ASCII characters, or as a lonely Â or Ã."""
    data = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8)
    if np.any((data[:-1] >= 0x80) & (data[1:] >= 0xC0)):
        return True
    return "\u00c2" in text or "\u00c3" in text


def _drop_invisible(text: str, *, everything: bool) -> str:
    if not everything:
        return _CONTROLS.sub("", text)
    text = _INVISIBLE.sub(lambda match: match.group(1) or "", text)
    return _JOINERS.sub(_joiner, text)


def _joiner(match: re.Match[str]) -> str:
    """Keep one joiner between letters it shapes or emoji it joins, else drop the run."""
    text, start, end = match.string, match.start(), match.end()
    before, after = text[start - 1 : start], text[end : end + 1]
    if before and after:
        if _JOINING_SCRIPTS.match(before) and _JOINING_SCRIPTS.match(after):
            return match.group()[0]
        if match.group()[0] == "\u200d" and _EMOJI.match(before) and _EMOJI.match(after):
            return "\u200d"
    # A joiner after an Indic virama shapes the letter before it, whatever follows.
    if before and unicodedata.combining(before) == 9:
        return match.group()[0]
    return ""
