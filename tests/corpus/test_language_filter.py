"""The language filter keeps what it was told to keep and stores what it saw."""

import numpy as np
import pytest
from pydantic import ValidationError

from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.language import LanguageFilter

TEXTS = [
    "The river was higher than anyone in the village could remember.",
    "河水涨得比村里任何人记忆中的都要高，这个项目的说明书讲了原因。",
    "這個專案的說明書講的是怎樣從頭訓練一個語言模型。",
    "1234 5678",
]


def reasons(step: LanguageFilter, texts: list[str]) -> list[str]:
    codes = step.judge(step.measure(TextBatch.of(texts)))
    return ["" if code == 0 else step.reasons[code - 1] for code in codes]


def test_language_filter_keeps_every_language_unless_told() -> None:
    assert reasons(LanguageFilter(), TEXTS) == ["", "", "", ""]


def test_language_filter_keeps_the_languages_named() -> None:
    found = reasons(LanguageFilter(keep=("zh",)), TEXTS)
    assert found == ["other_language", "", "", "other_language"]
    assert reasons(LanguageFilter(keep=("en", "und")), TEXTS)[3] == ""


def test_language_filter_drops_traditional_text_where_asked() -> None:
    assert reasons(LanguageFilter(max_traditional=0.5), TEXTS) == ["", "", "traditional", ""]


def test_language_filter_low_score_is_unsure() -> None:
    assert reasons(LanguageFilter(min_score=0.65), TEXTS) == ["", "", "", "unsure"]


def test_language_filter_measures_do_not_know_the_thresholds() -> None:
    batch = TextBatch.of(TEXTS)
    plain, strict = LanguageFilter(), LanguageFilter(keep=("en",), min_score=0.9)
    measured, again = plain.measure(batch), strict.measure(batch)
    assert measured["code"].tolist() == ["en", "zh", "zh", "und"] == again["code"].tolist()
    assert np.array_equal(measured["score"], again["score"])
    assert np.array_equal(measured["traditional"], again["traditional"], equal_nan=True)


def test_language_filter_what_was_not_measured_passes() -> None:
    measures = {
        "code": np.array([None, "fr"], object),
        "score": np.array([np.nan, 0.9], np.float32),
        "traditional": np.array([np.nan, np.nan], np.float32),
    }
    step = LanguageFilter(keep=("en",), min_score=0.5, max_traditional=0.5)
    assert step.judge(measures).tolist() == [0, 1]


@pytest.mark.parametrize("code", ["Chinese", "", "z", "中文"])
def test_language_filter_what_is_no_code_is_refused(code: str) -> None:
    with pytest.raises(ValidationError, match="ISO 639"):
        LanguageFilter(keep=(code,))


def test_language_filter_codes_are_understood_in_three_letters_too() -> None:
    assert LanguageFilter(keep=("ZHO", "eng")).keep == ("zh", "en")
