"""Which texts are looked at closely: leaving the others alone changes no result."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.corpus.document import TextBatch
from pipeline.corpus.repair import RepairConfig, repair_text

ODD = (
    "a b\t\n\r\x00\x0b\x0c\x1f\x7f\x80\x85\x9f\xa0\xad\xc2\xc3é€â™“”—…œ\u0301\u200b"
    "\u200c\u200d\u200e\u2028\u2029\u202e\u2060\u206f\ufdd0\ufdef\ufeff\ufff9\ufffb\ufffc\ufffd\ufffe\uffff\U000e0020"
    "\U000e007f\U0001f3f4😀中，ï¼Œ가\u1100\u1161Å\uf900ﬁ\uf8ffжнаЂ\u0e01\u0e31 "
)
TEXTS = st.lists(st.text(st.sampled_from(ODD), max_size=12), max_size=6)


@pytest.mark.parametrize("invisible", [True, False])
@pytest.mark.parametrize("mojibake", [True, False])
@settings(max_examples=120, deadline=None)
@given(TEXTS)
@example(["schÃ¶n", "itâ€™s", "ä¸\xadæ–‡", "РїСЂРёРІРµС‚", "Ã", "ﬂï¿½", "中文，“好”"])
def test_repair_of_a_batch_equals_the_repair_of_each_text(
    mojibake: bool, invisible: bool, texts: list[str]
) -> None:
    config = RepairConfig(mojibake=mojibake, invisible=invisible)
    batch, _ = config.apply(TextBatch.of(texts))
    assert batch.texts == [repair_text(text, config).text for text in texts]
