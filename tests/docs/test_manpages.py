"""The text of manual pages, and the rule that sets aside what was left in English."""

from benchmarks.language import is_english, plain
from benchmarks.manpages import without_notices


def test_without_notices_cuts_what_many_pages_share() -> None:
    notice = "Translated by a team of volunteers."
    pages = [f"NAME\ntool{i} - does thing {i}\n\n{notice}\n" for i in range(10)]
    texts, cut = without_notices(pages)
    assert cut == 10
    assert texts == [f"NAME\ntool{i} - does thing {i}\n" for i in range(10)]


def test_without_notices_leaves_short_paragraphs_and_pairs() -> None:
    pages = ["none\n\nthis long paragraph stands here", "none\n\nthis long paragraph stands here"]
    texts, cut = without_notices([*pages, "none\n\nother"])
    assert cut == 0 and len(texts) == 3


def test_is_english_by_little_words_and_letters() -> None:
    assert is_english("The name of the file that is to be read with this tool", "de")
    assert not is_english("Der Name der Datei, die gelesen wird", "de")
    assert is_english("see the manual page of tar 请看", "zh")
    assert not is_english("the of and is", "en")


def test_plain_takes_the_language_out_of_an_answer() -> None:
    assert [plain(answer) for answer in ("__label__zh", "zh-Hant", "en")] == ["zh", "zh", "en"]
