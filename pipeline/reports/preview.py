"""Fine-tuning examples with their trained tokens marked: what a person looks at before training.

prompt prompt <|bos|> [answer answer <|eos|>]     [...] is trained, the rest is only read
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text

from pipeline.artifacts import Checkpoint
from pipeline.conversations.example import Example
from pipeline.conversations.template import TurnChoice, segments
from pipeline.reports.blocks import Marked, Piece
from pipeline.tokens.tokenizer import Tokenizer

MAX_RUN_CHARS = 2_000  # of one run of tokens; the middle of a longer one is left out
ELLIPSIS = " […] "
# A data set must not move the cursor of whoever looks at it: control characters are drawn.
VISIBLE = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
VISIBLE |= {0x7F: "\u2421", **dict.fromkeys(range(0x80, 0xA0), "\ufffd")}
VISIBLE |= dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd")  # direction


@dataclass(frozen=True)
class Run:
    """Neighbouring tokens of one kind, as text."""

    text: str
    trained: bool
    special: bool
    num_tokens: int


@dataclass(frozen=True)
class Preview:
    """One example as it will be trained."""

    id: str
    kind: str
    runs: tuple[Run, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens of the example."""
        return sum(run.num_tokens for run in self.runs)

    @property
    def num_trained(self) -> int:
        """Tokens that are targets."""
        return sum(run.num_tokens for run in self.runs if run.trained)


def preview(example: Example, tokenizer: Tokenizer, *, train_on: TurnChoice = "all") -> Preview:
    """The example's tokens, grouped by whether they are trained and whether they are special."""
    item = segments(example, tokenizer, train_on=train_on)
    special = set(tokenizer.specials.values())
    runs: list[Run] = []
    start = 0
    marks = [(bool(t), i in special) for i, t in zip(item.ids, item.trainable, strict=True)]
    for stop in range(1, len(marks) + 1):
        if stop == len(marks) or marks[stop] != marks[start]:
            trained, is_special = marks[start]
            text = _shortened(tokenizer.decode(item.ids[start:stop])).translate(VISIBLE)
            runs.append(Run(text, trained, is_special, stop - start))
            start = stop
    return Preview(example.id.translate(VISIBLE), example.kind.translate(VISIBLE), tuple(runs))


def trained_turns(tuned: Checkpoint | None) -> TurnChoice:
    """Which turns of a conversation a model was tuned on; "all" where nothing says so."""
    config = tuned.manifest.config if tuned is not None else None
    return "last" if isinstance(config, Mapping) and config.get("train_on") == "last" else "all"


def preview_text(shown: Preview, *, brackets: bool = False) -> Text:
    """For a terminal: trained tokens on green, special tokens dim; `brackets` where no colour is.

    Neighbouring trained runs, an answer and its end, share one pair of brackets.
    """
    text = Text()
    text.append(f"{shown.id} ({shown.kind}) ", style="bold")
    text.append(f"{shown.num_trained} of {shown.num_tokens} tokens are trained\n", style="dim")
    within = False
    for run in shown.runs:
        if brackets and run.trained != within:
            text.append("⟦" if run.trained else "⟧")
        within = run.trained
        style = "black on green" if run.trained else ""
        if run.special:
            style = "black on dark_green" if run.trained else "dim"
        text.append(run.text, style=style or None)
    if brackets and within:
        text.append("⟧")
    return text


def preview_block(shown: Preview) -> Marked:
    """For a report: trained tokens marked."""
    facts = f"{shown.num_trained} of {shown.num_tokens} tokens are trained"
    pieces = tuple(Piece(run.text, run.trained, run.special) for run in shown.runs)
    return Marked(f"{shown.kind}: {shown.id}", facts, pieces)


def _shortened(text: str) -> str:
    if len(text) <= MAX_RUN_CHARS:
        return text
    half = MAX_RUN_CHARS // 2
    return text[:half] + ELLIPSIS + text[-half:]
