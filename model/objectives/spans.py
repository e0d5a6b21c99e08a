"""Span corruption (Raffel et al. 2020, section 3.1.4): stretches of a text are cut out and written
by the decoder.

    text      Thank you for inviting me to your party last week
    source    Thank you <0> me to your party <1> week </s>        what the encoder reads
    targets   <0> for inviting <1> last </s>                      what the decoder has to write
    inputs    <s> <0> for inviting <1> last                       teacher forcing: the true target,
                                                                  moved by one behind the start

A row may hold several documents: each is a pair of its own, with its own numbering of sentinels and
its own end, and sees no other. bos and eos of the shards are left out; the pair has its own.

B rows, T tokens of a row, S positions of the source, U of the target. S and U depend on T
alone, so that shapes never change from step to step; `trimmed` cuts what no row of a batch uses.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from model.batch import AttentionPattern
from model.errors import ModelError
from model.objectives.rows import Arrays, Objective, RowKeys, Vocabulary
from model.settings import FORBID_EXTRA, check, setting

Ints = npt.NDArray[np.int64]
TRIM_TO = 8  # positions: rows of a batch are cut to a multiple of so many


@dataclass(frozen=True)
class SpanCorruption:
    """Cut out 15 % of the tokens in spans of 3; the shares that Raffel et al. chose (table 7)."""

    kind: Literal["spans"] = "spans"
    noise_share: float = setting(
        0.15, "Share of a row's ordinary tokens that is cut out.", gt=0.0, le=0.5
    )
    mean_span: float = setting(3.0, "Mean length of what is cut out at a place.", ge=1.0, le=64.0)
    attention: ClassVar[AttentionPattern] = "encoder-decoder"
    __pydantic_config__: ClassVar[dict[str, str]] = FORBID_EXTRA

    def __post_init__(self) -> None:
        check(self)

    @property
    def predicted_share(self) -> float:
        """Positions of the target per token of the text: what is cut out, and its sentinels."""
        return min(1.0, self.noise_share * (1 + 1 / self.mean_span))

    def cuts(self, tokens: int) -> tuple[int, int]:
        """How many tokens are cut out of so many, and in how many spans: (0, 0) only of none."""
        if tokens < 1:
            return 0, 0
        noise = max(1, round(self.noise_share * tokens))
        return noise, max(1, round(noise / self.mean_span))

    def widths(self, length: int) -> tuple[int, int]:
        """S and U, enough for every row of `length` tokens."""
        noise, spans = self.cuts(length)
        # Each token may be a text of its own with its end, each span end a target of its own.
        return 2 * length, noise + 2 * spans

    def build(self, vocabulary: Vocabulary) -> Objective:
        """The objective for these ids; ModelError without sentinels, start or end."""
        if not vocabulary.sentinels or vocabulary.start is None or vocabulary.end is None:
            raise ModelError(
                "span corruption needs sentinel tokens; set tokenizer.sentinels to 100"
            )
        return Corrupting(self, vocabulary, vocabulary.start, vocabulary.end)


@dataclass(frozen=True)
class Corrupting:
    """Cuts out, numbers, and writes down what is to be written."""

    config: SpanCorruption
    vocabulary: Vocabulary
    start: int
    end: int

    def __call__(self, arrays: Arrays, keys: RowKeys) -> Arrays:
        """`source_inputs`, `source_segments` (B, S), and the decoder's side (B, U).

        ModelError for rows so long that the sentinels do not suffice.
        """
        tokens, segment_ids = arrays["inputs"], arrays["segment_ids"]
        rows, length = tokens.shape
        most = self.config.cuts(length)[1]
        if most > len(self.vocabulary.sentinels):
            raise ModelError(
                f"rows of {length} tokens have up to {most} spans, the tokenizer has "
                f"{len(self.vocabulary.sentinels)} sentinels; set tokenizer.sentinels to {most}, "
                "or shorten the rows"
            )
        source_width, target_width = self.config.widths(length)
        source, source_segments = np.zeros((2, rows, source_width), np.int64)
        inputs, targets, segments, positions = np.zeros((4, rows, target_width), np.int64)
        loss_mask = np.zeros((rows, target_width), np.float32)
        ordinary = (segment_ids > 0) & ~np.isin(tokens, self.vocabulary.special_ids)
        for row in range(rows):
            texts = [
                tokens[row, ordinary[row] & (segment_ids[row] == number)]
                for number in np.unique(segment_ids[row, ordinary[row]])
            ]
            read = wrote = 0
            for number, (given, wanted) in enumerate(
                self.pairs(texts, keys.generator(row, "spans")), start=1
            ):
                part = slice(read, read + len(given))
                source[row, part], source_segments[row, part] = given, number
                read = part.stop
                if len(wanted) == 1:  # nothing was cut out: only read, and nobody looks
                    continue
                part = slice(wrote, wrote + len(wanted))
                targets[row, part], segments[row, part] = wanted, number
                inputs[row, part] = np.concatenate((np.array([self.start]), wanted[:-1]))
                positions[row, part] = np.arange(len(wanted))
                loss_mask[row, part] = 1.0
                wrote = part.stop
        return {
            "inputs": inputs, "targets": targets, "loss_mask": loss_mask, "segment_ids": segments,
            "positions": positions, "source_inputs": source, "source_segments": source_segments,
        }  # fmt: skip

    def pairs(self, texts: list[Ints], rng: np.random.Generator) -> list[tuple[Ints, Ints]]:
        """Source and target of each text, ends included; a target that is only an end: no span.

        The spans of a row are dealt to its texts in proportion to their lengths, what is cut out of
        a text to its spans. Never all of a text is cut out, but of a single token.
        """
        sizes = np.array([len(text) for text in texts], np.int64)
        noise, spans = self.config.cuts(int(sizes.sum()))
        dealt = np.minimum(_dealt(sizes, spans, rng), sizes)
        lost = np.minimum(_dealt(dealt, noise, rng), np.maximum(sizes - 1, dealt))
        return [
            self.pair(text, int(n), int(m), rng)
            for text, n, m in zip(texts, np.maximum(lost, dealt), dealt, strict=True)
        ]

    def pair(
        self, text: Ints, noise: int, spans: int, rng: np.random.Generator
    ) -> tuple[Ints, Ints]:
        """One text with `noise` tokens cut out in `spans` places, all such ways equally likely."""
        spans = min(spans, noise, len(text) - noise + 1)  # what is kept lies between two spans
        end = np.array([self.end], np.int64)
        if spans < 1:
            return np.concatenate((text, end)), end
        borders = np.sort(rng.choice(noise - 1, spans - 1, replace=False)) + 1
        lengths = np.diff(np.concatenate(([0], borders, [noise])))
        kept_before = np.sort(rng.choice(len(text) - noise + 1, spans, replace=False))
        starts = kept_before + np.concatenate(([0], np.cumsum(lengths[:-1])))
        source: list[Ints] = []
        target: list[Ints] = []
        at = 0
        for sentinel, start, count in zip(self.vocabulary.sentinels, starts, lengths, strict=False):
            mark = np.array([sentinel], np.int64)
            source += [text[at:start], mark]
            target += [mark, text[start : start + count]]
            at = start + count
        return np.concatenate((*source, text[at:], end)), np.concatenate((*target, end))


def _dealt(sizes: Ints, things: int, rng: np.random.Generator) -> Ints:
    """`things` dealt to parts in proportion to their sizes, each within one of its exact share.

    Systematic sampling: one random offset, then equal steps through the parts laid end to end.
    """
    total = int(sizes.sum())
    if total == 0:
        return np.zeros_like(sizes)
    ends = np.concatenate(([0], np.cumsum(sizes))) * (things / total) + rng.random()
    ends[-1] = things + ends[0]  # not a rounding error less
    whole: Ints = np.floor(ends).astype(np.int64)
    return whole[1:] - whole[:-1]


def trimmed(arrays: Arrays) -> Arrays:
    """The arrays without columns that are padding in every row, to a multiple of `TRIM_TO`."""
    cut = dict(arrays)
    for marks, names in (
        ("source_segments", ("source_inputs", "source_segments")),
        ("segment_ids", ("inputs", "targets", "loss_mask", "segment_ids", "positions")),
    ):
        used = np.flatnonzero(arrays[marks].any(axis=0))
        width = int(used[-1]) + 1 if len(used) else 1
        width = -(-width // TRIM_TO) * TRIM_TO
        cut |= {name: arrays[name][:, :width] for name in names}
    return cut
