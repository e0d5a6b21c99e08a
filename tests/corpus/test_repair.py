"""Repair mends what was broken on the way and leaves what an author wrote."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.repair import RepairConfig, normalise_newlines, repair_text
from tests.corpus.conftest import CHINESE

CONFIG = RepairConfig()


def repaired(text: str) -> str:
    return repair_text(text, CONFIG).text


@pytest.mark.parametrize(
    ("broken", "whole"),
    [
        ("schÃ¶n und gut", "schön und gut"),
        ("itâ€™s", "it’s"),
        ("ÃƒÂ©", "é"),  # garbled twice
        ("æˆ‘ä»¬çš„ä¸–ç•Œ", "我们的世界"),
        ("РџСЂРёРІРµС‚", "Привет"),
        ("e\u0301te\u0301", "été"),
        ("\u1112\u1161\u11ab", "한"),
        ("a\x00b\x1b[0m", "ab[0m"),
        ("one\r\ntwo\rthree\x85four\u2028five\x0csix", "one\ntwo\nthree\nfour\nfive\nsix"),
        ("one\u2029two", "one\n\ntwo"),
        ("\ufeffword\u200bbreak\u2060er\xad", "wordbreaker"),
        ("a\u202eb\u2066c", "abc"),
        ("a\u200db\u200cc", "abc"),
        ("lone \ud83d half", "lone \ufffd half"),
        ("\U000e0041hidden\U000e0042", "hidden"),
    ],
)
def test_repair_mends(broken, whole):
    assert repaired(broken) == whole


@pytest.mark.parametrize(
    "text",
    [
        "plain ASCII\twith a tab\nand lines",
        "“quotes” — dashes… ﬁne ligatures, x², ½",  # NFKC would fold these
        "Ｆｕｌｌ　ｗｉｄｔｈ，。！",
        "می\u200cخواهم",  # Persian: the joiner separates a prefix
        "क्\u200dष",  # Devanagari: half form
        "ශ්\u200dරී",  # Sinhala
        "👩\u200d💻 👨🏽\u200d🚀 ❤\ufe0f\u200d🔥",
        "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "naïve façade, Ångström, L’été — ça va",
        *CHINESE,
    ],
)
def test_repair_leaves_sound_text_alone(text):
    outcome = repair_text(text, CONFIG)
    assert outcome.text == text
    assert outcome.kinds == ()


def test_repair_mends_a_damaged_line_among_sound_ones():
    assert repaired("我们 “quoted”\nitâ€™s broken") == "我们 “quoted”\nit’s broken"


PIECES = st.sampled_from(
    ["a", "é", "e\u0301", "Ã©", "â€™", "\r", "\n", "\x00", "\x85", "\u200d", "\u200c", "क", "्",
     "👩", "我", "\ufeff", "\ud800", "\u2029", "Ã", "\xa0", " ", "€", "\U000e0041", "\U0001f3f4"]
)  # fmt: skip


@given(st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=20).map("".join)))
@example("Ã\u200b\xa0")
def test_repair_is_idempotent(text):
    once = repaired(text)
    assert repaired(once) == once


@given(st.lists(PIECES, max_size=20).map("".join))
def test_repair_leaves_no_control_character_or_surrogate(text):
    result = repaired(text)
    assert not any(ord(c) < 32 and c not in "\t\n" for c in result)
    result.encode("utf-8")


def test_repair_of_a_batch_counts_documents_by_kind():
    texts = ["fine", "itâ€™s", "a\r\nb", "c\r\nd", "我们"]
    batch, counts = CONFIG.apply(TextBatch.of(texts))
    assert batch.texts == ["fine", "it’s", "a\nb", "c\nd", "我们"]
    assert counts == {"mojibake": 1, "newlines": 2}


def test_repair_of_a_slice_sees_only_its_rows():
    batch = TextBatch.of(["x\r", "plain", "y\r"]).slice(1, 1)
    assert CONFIG.apply(batch)[0].texts == ["plain"]


def test_repair_switched_off_keeps_mojibake_and_joins():
    config = RepairConfig(mojibake=False, invisible=False)
    assert repair_text("itâ€™s a\u200bb\x00", config).text == "itâ€™s a\u200bb"


def test_normalise_newlines_keeps_tabs():
    assert normalise_newlines("a\tb\r\n") == "a\tb\n"


DECODES = RepairConfig(entities=True)


@pytest.mark.parametrize(
    ("coded", "plain"),
    [
        ("a &lt; b &amp; c", "a < b & c"),
        ("&#39;&#x4f60;&#22909;&rsquo;", "'你好’"),
        ("&amp;amp;amp;amp;amp;amp;amp;lt;", "<"),  # escaped seven times
        ("&amp;" * 3, "&&&"),
        ("?a=1&copy=2 AT&T; &notit; &nosuch; &;", "?a=1&copy=2 AT&T; &notit; &nosuch; &;"),
        ("one&#13;&#10;two&#0;", "one\ntwo\ufffd"),
        ("&#xd800;&#99999999;&zwnj;", "\ufffd&#99999999;"),
    ],
)
def test_entities_are_decoded_only_when_asked_for(coded: str, plain: str) -> None:
    batch, counts = DECODES.apply(TextBatch.of(["no entity", coded]))
    assert batch.texts == ["no entity", plain]
    assert repair_text(plain, DECODES).text == plain
    assert counts.get("entities", 0) == (coded != plain)
    assert repair_text("a &lt; b", CONFIG).text == "a &lt; b"


@given(st.text(alphabet="&amp;#38x2lt\r Ã©", max_size=60))
def test_decoding_entities_again_changes_nothing(text: str) -> None:
    once = repair_text(text, DECODES).text
    assert repair_text(once, DECODES).text == once


def test_a_million_ampersands_cost_no_more_than_their_length() -> None:
    for text in ("&" * 1_000_000, "&amp;" * 200_000, "&#38;" * 200_000, "&amp" * 250_000):
        assert repair_text(text, DECODES).text
