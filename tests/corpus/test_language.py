"""The language of a text is told offline, alike on every machine, and never by its markup."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.language import HEAD_CHARS, identify, languages_of
from pipeline.corpus.languages.codes import normal_code
from pipeline.corpus.languages.scripts import SCRIPTS, scan_scripts

SENTENCES: dict[str, list[str]] = json.loads(
    (Path(__file__).parent / "sentences.json").read_text(encoding="utf-8")
)
SIMPLIFIED = "这个项目的说明书讲的是怎样从头训练一个语言模型。"
TRADITIONAL = "這個專案的說明書講的是怎樣從頭訓練一個語言模型。"


def codes(*texts: str) -> list[str]:
    return identify(TextBatch.of(texts)).codes


@pytest.mark.parametrize("code", sorted(SENTENCES))
def test_identify_own_sentences_names_their_language(code: str) -> None:
    assert codes(*SENTENCES[code]) == [code] * len(SENTENCES[code])


def test_identify_chinese_notes_which_way_it_is_written() -> None:
    found = identify(TextBatch.of([SIMPLIFIED, TRADITIONAL, "I am English text."]))
    assert found.codes == ["zh", "zh", "en"]
    assert found.traditional[0] == 0 and found.traditional[1] == 1
    assert np.isnan(found.traditional[2])


def test_identify_chinese_between_english_commands_is_chinese() -> None:
    text = "用 tar 命令解压文件: tar --extract --file=archive.tar，然后进入目录运行 make install。"
    assert codes(text) == ["zh"]


def test_identify_chinese_below_a_long_synopsis_is_chinese() -> None:
    synopsis = "ALTER TABLE [ ONLY ] name [ * ] ADD [ COLUMN ] column_constraint [ ... ] "
    assert codes(synopsis * 2 + "修改一个现有的表的定义，可以增加、删除或者改名。") == ["zh"]


def test_identify_english_that_quotes_chinese_is_english() -> None:
    text = "The word for manual is 手册 and the word for page is 页, as any dictionary will tell."
    assert codes(text) == ["en"]


def test_identify_text_without_letters_is_undetermined() -> None:
    texts = ["", " \n\t", "12345 67890 3.14", "!!! ??? ...", "😀😀😀😀", "\x00" * 50, "ok"]
    found = identify(TextBatch.of(texts))
    assert found.codes == ["und"] * len(texts)
    assert not found.scores.any()


def test_identify_markup_does_not_hide_the_language() -> None:
    tags = '<div class="row"><p>{}</p></div>'
    for code in ("fr", "de", "zh", "ru"):
        assert codes(tags.format(" ".join(SENTENCES[code]))) == [code]


def test_identify_russian_with_english_words_answers_in_its_own_script() -> None:
    text = "Файл /etc/host.conf содержит настройки (resolver library configuration) для " * 2
    assert codes(text) == ["ru"]


def test_identify_source_code_is_not_claimed_with_certainty() -> None:
    found = identify(TextBatch.of(["x0 = y1; qz(7, x0); while (y1--) { q[y1] = x0; }"]))
    assert found.scores[0] < 0.65  # FineWeb's threshold


def test_identify_looks_at_the_head_only() -> None:
    head = ("The quick brown fox jumps over the lazy dog and runs away. " * 40)[:HEAD_CHARS]
    assert len(head) == HEAD_CHARS
    assert codes(head, head + SIMPLIFIED * 1000) == ["en", "en"]


def test_identify_a_drawn_line_takes_no_room_from_the_text() -> None:
    assert codes("rename old new\n" + "_" * 2_000 + "\n" + SIMPLIFIED * 3) == ["zh"]


def test_identify_a_megabyte_of_one_character_is_left_soon() -> None:
    assert codes("_" * 1_000_000 + SIMPLIFIED) == ["und"]


def test_identify_a_slice_is_the_slice_of_the_answers() -> None:
    texts = [text for group in SENTENCES.values() for text in group]
    batch = TextBatch.of(texts)
    whole = identify(batch)
    part = identify(batch.slice(3, 7))
    assert part.codes == whole.codes[3:10]
    assert np.array_equal(part.scores, whole.scores[3:10])


def test_languages_of_source_says_so_wins() -> None:
    given = [{"language": "zh-Hans"}, {"language": "deu_Latn"}, {"language": "Klingon"}, {}]
    found = languages_of(TextBatch.of(["This is plain English text."] * 4, metadata=given))
    assert found.codes == ["zh", "de", "en", "en"]
    assert found.scores[0] == 1


@pytest.mark.parametrize(
    ("tag", "code"),
    [("EN", "en"), ("zh_CN.UTF-8", "zh"), ("cmn_Hani", "zh"), ("iw", "he"), ("nb-NO", "no"),
     ("gsw", "gsw"), ("English", "und"), ("", "und"), ("?", "und"), ("中文", "und")],
)  # fmt: skip
def test_normal_code_of_a_tag(tag: str, code: str) -> None:
    assert normal_code(tag) == code


def test_scan_scripts_counts_bytes_of_letters() -> None:
    batch = TextBatch.of(["ab, 中文 яж", "かな"])
    sizes, forms, ends = scan_scripts(batch.data, batch.offsets, 1_000)
    counted = [{s: int(n) for s, n in zip(SCRIPTS, row, strict=True) if n} for row in sizes]
    assert counted == [{"none": 3, "Latn": 2, "Han": 6, "Cyrl": 4}, {"Kana": 6}]
    assert np.array_equal(ends, batch.offsets[1:])
    assert not forms.any()  # 中 and 文 are written alike on both sides of the strait


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@settings(max_examples=150, deadline=None)
@given(st.lists(ANY_TEXT, max_size=8))
def test_identify_any_text_gets_one_answer_each_and_always_the_same(texts: list[str]) -> None:
    found = identify(TextBatch.of(texts))
    again = identify(TextBatch.of(texts))
    assert len(found.codes) == len(texts) == len(found.scores)
    assert found.codes == again.codes
    assert np.all((found.scores >= 0) & (found.scores <= 1))
    assert [code == "und" for code in found.codes] == (found.scores == 0).tolist()


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_identify_bytes_decoded_with_replacement_never_raise(data: bytes) -> None:
    assert len(codes(data.decode("utf-8", "replace"))) == 1
