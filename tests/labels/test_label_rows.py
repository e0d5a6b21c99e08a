"""Rows of labelled examples: which token has a target, and that batches carry exactly these."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.labels.example import Labelled
from pipeline.labels.pydocs import PydocsLabels, pydocs_rows
from pipeline.labels.rows import encoded, write_rows
from pipeline.labels.sentences import sentences_of
from pipeline.store.errors import DataError
from pipeline.tokens.labelled import LabelledRows
from pipeline.tokens.tokenizer import with_our_specials
from tests.registry.worlds import PATTERN

WORDS = with_our_specials("bytes", PATTERN, {bytes([i]): i for i in range(256)})


def rows_file(path: Path, examples: list[Labelled], level: str, *, pack: bool = True) -> Path:
    write_rows(
        examples, WORDS, path, labels=("x", "y", "z"), level=level, context_length=12, pack=pack,
    )  # type: ignore[arg-type]  # fmt: skip
    return path


def test_only_the_first_token_of_a_word_has_a_target(tmp_path: Path) -> None:
    one = Labelled("1", ("ab", "c", "def"), ("z", "y", "x"), "1")
    batch = LabelledRows(rows_file(tmp_path / "r.arrow", [one], "word"), rows=1).batch(0)
    ids = [WORDS.bos, *b"ab c def", WORDS.eos]
    assert batch["inputs"][0].tolist() == [*ids, 0, 0]
    assert batch["loss_mask"][0].tolist() == [0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]
    assert batch["targets"][0][[1, 3, 5]].tolist() == [2, 1, 0]
    assert batch["segment_ids"][0].tolist() == [1] * 10 + [0, 0]


def test_texts_of_a_row_are_isolated_and_each_has_its_label_at_its_first_token(
    tmp_path: Path,
) -> None:
    examples = [Labelled(str(i), ("ab",), ("xyz"[i],), str(i)) for i in range(3)]
    batch = LabelledRows(rows_file(tmp_path / "r.arrow", examples, "text"), rows=1).batch(0)
    firsts = [0, 4, 8]
    assert np.flatnonzero(batch["loss_mask"][0]).tolist() == firsts
    assert batch["inputs"][0][firsts].tolist() == [WORDS.bos] * 3
    assert sorted(batch["targets"][0][firsts].tolist()) == [0, 1, 2]
    assert batch["segment_ids"][0].tolist() == [1] * 4 + [2] * 4 + [3] * 4
    assert batch["positions"][0].tolist() == [0, 1, 2, 3] * 3
    alone = LabelledRows(rows_file(tmp_path / "a.arrow", examples, "text", pack=False), rows=3)
    assert alone.num_samples == 3 and alone.batch(0)["loss_mask"].sum() == 3


def test_what_does_not_fit_is_cut_and_words_beyond_it_have_no_target(tmp_path: Path) -> None:
    item = encoded(("abc", "defgh", "ij", "k"), WORDS, level="word", context_length=12)
    assert item.ids == [WORDS.bos, *b"abc defgh ", WORDS.eos] and item.places == [1, 4, 10]
    assert item.cut == 4
    text = encoded(("<|eos|>",), WORDS, level="text", context_length=12)
    assert text.ids == [WORDS.bos, *b"<|eos|>", WORDS.eos]  # text from outside is never special
    with pytest.raises(DataError, match="no labelled example"):
        rows_file(tmp_path / "none.arrow", [], "text")


def test_sentences_lose_their_markup_and_remember_what_was_code() -> None:
    text = (
        "f(x)\n    If ``None``, the :class:`~a.Path` of it is\n    returned to the caller.\n\n"
        "    >>> f(1) is no sentence of this text at all.\n    Too short."
    )
    (found,) = sentences_of(text)
    assert found.text == "If None, the a.Path of it is returned to the caller."
    assert "".join(c for c, code in zip(found.text, found.code, strict=True) if code) == (
        "Nonea.Path"
    )


def document(name: str, verb: str, count: int) -> tuple[str, str]:
    numbers = ("one", "two", "three", "four", "five", "six", "seven", "eight")
    lines = (f"{verb} the {number} of all `items` that it was given." for number in numbers)
    return f"{name}/{name}.mod", "\n\n".join(list(lines)[:count])


def test_documentation_labels_never_tell_the_answer() -> None:
    documents = [document("numpy", "Sorts", 8), document("rich", "Prints", 8)]
    documents.append(("rich/more", "Calls numpy or np for the rest of it."))
    held = [("numpy/held", "Averages all of the given `values` in place."),
            ("rich/held", "Colours all of the given `values` in place.")]  # fmt: skip
    source = PydocsLabels(libraries=2)
    rows = list(pydocs_rows(source, documents, held, seed=0))
    assert {one.labels[0] for one, _ in rows} == {"numpy", "rich"}
    assert not any("numpy" in one.units[0].lower() or " np " in one.units[0] for one, _ in rows)
    assert {one.group for one, split in rows if split == "held_out"} == {"numpy/held", "rich/held"}
    words = PydocsLabels(task="code_words", libraries=2)
    for one, _ in pydocs_rows(words, documents, held, seed=0):
        assert "`" not in " ".join(one.units)
        assert {w for w, x in zip(one.units, one.labels, strict=True) if x == "code"} <= {
            "items", "values",
        }  # fmt: skip


def test_labels_of_documentation_need_documentation() -> None:
    with pytest.raises(DataError, match="needs the documents of a pydocs source"):
        list(pydocs_rows(PydocsLabels(), [("a.txt", "A text of many words, without code.")], [],
                         seed=0))  # fmt: skip
