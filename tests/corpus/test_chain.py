"""A list of steps over documents of several languages."""

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.corpus.chain import pass_through
from pipeline.corpus.document import TextBatch
from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.judging import labels_of
from pipeline.corpus.filters.language import LanguageFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.rejects import measures_table
from pipeline.corpus.steps import AnyStep, Rules, expanded
from tests.corpus.conftest import made_up

ENGLISH = "The river was high that spring, and nobody crossed it before the bridge was mended. "
CHINESE = "那年春天河水很高，桥修好以前没有人过河。孩子们在岸上看船，老人坐在门口说话。"


def test_each_document_is_judged_by_the_rules_of_its_language():
    steps = (
        LengthFilter(languages=("zh",), min_words=1000),
        LengthFilter(except_languages=("zh",)),
    )
    batch = TextBatch.of([ENGLISH * 3, CHINESE * 2, ENGLISH * 4])
    passed = pass_through(steps, batch)
    assert passed.languages == ["en", "zh", "en"]
    assert passed.verdicts.reasons == ["", "length.too_few_words", ""]


def test_documents_keep_their_order_whatever_route_they_took():
    texts = [made_up(1), CHINESE * 2, made_up(2), CHINESE * 3]
    batch = TextBatch.of(texts)
    passed = pass_through((LengthFilter(languages=("zh",)),), batch)
    assert passed.batch.texts == texts
    assert passed.batch.doc_ids == batch.doc_ids
    assert passed.applied["length"].tolist() == [False, True, False, True]


def test_a_batch_without_a_document_of_the_language_has_the_columns_all_the_same():
    steps = (LengthFilter(languages=("zh",)),)
    english = pass_through(steps, TextBatch.of([ENGLISH]))
    both = pass_through(steps, TextBatch.of([ENGLISH, CHINESE]))
    assert {k: v.dtype for k, v in english.columns.items()} == {
        k: v.dtype for k, v in both.columns.items()
    }
    assert not english.applied["length"].any()


def test_a_routed_step_with_words_for_values_stores_one_type_whatever_a_batch_holds():
    steps = (LanguageFilter(languages=("zh",), max_traditional=0.5),)
    tables = []
    for texts in ([ENGLISH], [CHINESE], [ENGLISH, CHINESE], []):
        passed = pass_through(steps, TextBatch.of(texts))
        tables.append(
            measures_table(
                passed.batch, passed.languages, passed.verdicts, passed.columns, passed.applied
            )
        )
    codes = pa.concat_tables(tables).column("language.code").to_pylist()
    assert codes == [None, "zh", None, "zh"]


def test_a_batch_without_documents_passes():
    passed = pass_through(expanded([Rules()]), TextBatch.of([]))
    assert len(passed.batch) == 0 and passed.verdicts.objections == []


def test_steps_of_one_kind_share_a_label_only_when_no_document_meets_both():
    zh, rest, everyone = (
        LengthFilter(languages=("zh",)),
        LengthFilter(except_languages=("zh",)),
        LengthFilter(),
    )
    assert labels_of([zh, AlphabetFilter(), rest]) == ["length", "alphabet", "length"]
    assert labels_of([zh, rest, everyone, everyone]) == ["length", "length", "length#2", "length#3"]


def test_a_second_filter_of_one_kind_objects_under_its_own_name():
    steps = (LengthFilter(min_words=1), LengthFilter(min_words=10_000))
    passed = pass_through(steps, TextBatch.of([ENGLISH]))
    assert passed.verdicts.reasons == ["length#2.too_few_words"]
    assert np.array_equal(passed.columns["length.words"], passed.columns["length#2.words"])


def test_language_is_not_identified_when_no_step_asks():
    assert pass_through((LengthFilter(),), TextBatch.of([ENGLISH])).languages == [None]


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"preset": "nonsense"}, "no preset is named 'nonsense'; there are "),
        ({"routes": {"zh": "nonsense"}}, "no preset is named 'nonsense'"),
        ({"languages": ["zh"]}, "use routes"),
        ({"routes": {"jp": "generic"}}, "'jp' is no ISO 639 language code"),
        (
            {"routes": {"zh": "generic", "cmn": "c4"}},
            "'zh' is the language 'zh', which has a route",
        ),
    ],
)
def test_rules_refuse_what_they_do_not_know(settings, told):
    with pytest.raises(ValidationError, match=told):
        Rules.model_validate(settings)


def test_the_order_of_routes_is_no_matter():
    one = Rules.model_validate({"routes": {"zh": "documentation", "ja": "generic"}})
    other = Rules.model_validate({"routes": {"ja": "generic", "zh": "documentation"}})
    assert expanded([one]) == expanded([other])


@pytest.mark.parametrize("code", ["English", "jp", "cn", "zh1", "", "中文"])
@pytest.mark.parametrize("field", ["languages", "except_languages"])
def test_a_code_that_is_no_language_is_refused_as_it_would_bind_a_step_to_nothing(field, code):
    with pytest.raises(ValidationError, match="no ISO 639 language code"):
        LengthFilter(**{field: (code,)})


def test_codes_of_languages_are_those_that_documents_are_found_to_have():
    step = LengthFilter(languages=("zh-CN", "EN", "eng", "nb", "und", "gsw"))
    assert step.languages == ("zh", "en", "no", "und", "gsw")
    assert Rules(routes={"ja-JP": "fineweb2-ja"}).routes == {"ja": "fineweb2-ja"}


@pytest.mark.parametrize(
    "step, told",
    [
        (
            {"kind": "length", "min_words": 50, "max_words": 10},
            "min_words=50 is above max_words=10",
        ),
        ({"kind": "gopher_quality", "min_mean_word_chars": 11}, "no document would stay"),
        ({"kind": "gopher_repetition", "max_top_grams": [0.2, -1, 0.2]}, "greater than or equal"),
        ({"kind": "repetition", "max_duplicate_grams": [2, 1, 1, 1, 1, 1]}, "less than or equal"),
    ],
)
def test_bounds_that_no_text_or_every_text_would_meet_are_wrong_settings(step, told):
    with pytest.raises(ValidationError, match=told):
        TypeAdapter(AnyStep).validate_python(step)
