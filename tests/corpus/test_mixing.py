"""Mixing: how often each document is used, and that nothing is used without being counted."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.corpus.document import DOCUMENT_SCHEMA
from pipeline.corpus.mixing import (
    MixPart,
    PartDocuments,
    Weighed,
    mix_name,
    mix_parts,
    passes,
    read_repeats,
)
from pipeline.corpus.mixing_settings import Budget, MixingConfig
from pipeline.store.errors import ConfigError


def documents(source, count, size=100, first=0):
    return [Weighed(row, f"{source}/{first + row}", size + row % 7) for row in range(count)]


def parts_of(**counts):
    return [MixPart(source, documents(source, count)) for source, count in counts.items()]


def size_of(part):
    return sum(document.bytes for document in part.documents)


def mixed(tmp_path, parts, **config):
    weights = config.pop("source_weights", {})
    facts = mix_parts(parts, MixingConfig(**config), tmp_path, source_weights=weights)
    repeats = [
        read_repeats(tmp_path / mix_name(i), len(part.documents)) for i, part in enumerate(parts)
    ]
    return facts, repeats


def test_weights_of_whole_numbers_repeat_every_document(tmp_path):
    facts, (web, books) = mixed(tmp_path, parts_of(web=50, books=20), weights={"books": 3})
    assert set(web) == {1} and set(books) == {3}
    assert facts["by_source"]["books"]["copies"] == 60


def test_a_source_of_weight_zero_is_not_used(tmp_path):
    facts, (web, books) = mixed(tmp_path, parts_of(web=50, books=20), weights={"books": 0})
    assert set(books) == {0} and set(web) == {1}
    assert facts["not_drawn"] == 20 and facts["documents"] == 50


def test_a_fraction_takes_that_share_of_the_text_to_one_document(tmp_path):
    parts = parts_of(web=400)
    facts, (web,) = mixed(tmp_path, parts, weights={"web": 2.3})
    assert set(web) == {2, 3}
    assert 0 <= 2.3 * size_of(parts[0]) - facts["bytes"] < 110


def test_the_accounts_are_those_of_the_written_repeats(tmp_path):
    parts = parts_of(web=120, books=60)
    facts, repeats = mixed(tmp_path, parts, weights={"books": 2.5}, budget=Budget(bytes=14_000))
    for part, times in zip(parts, repeats, strict=True):
        row = facts["by_source"][part.source]
        sizes = np.array([document.bytes for document in part.documents])
        assert row["bytes"] == int((sizes * times).sum())
        assert row["copies"] == int(times.sum())
        assert row["documents"] == int((times > 0).sum())
        assert row["documents"] + row["not_drawn"] == len(part.documents)
    assert facts["bytes"] == sum(row["bytes"] for row in facts["by_source"].values())


def test_a_budget_in_tokens_is_met_to_one_document_per_source(tmp_path):
    facts, _ = mixed(
        tmp_path, parts_of(web=300, books=300), budget=Budget(tokens=5_000, bytes_per_token=4.0)
    )
    assert facts["budget_bytes"] == 20_000
    assert 0 <= 20_000 - facts["bytes"] < 2 * 110


def test_shares_are_those_of_the_mixed_text(tmp_path):
    facts, _ = mixed(
        tmp_path, parts_of(web=1000, books=200, code=200), shares={"books": 0.4, "code": 0.1},
        budget=Budget(bytes=50_000),
    )  # fmt: skip
    shares = {source: row["share"] for source, row in facts["by_source"].items()}
    assert shares == pytest.approx({"web": 0.5, "books": 0.4, "code": 0.1}, abs=0.01)


def test_what_a_full_source_cannot_give_falls_to_the_others(tmp_path):
    parts = parts_of(web=1000, books=10)
    facts, (_, books) = mixed(
        tmp_path, parts, shares={"books": 0.5}, budget=Budget(bytes=60_000), max_repeats=4
    )
    assert set(books) == {4}
    assert 0 <= 60_000 - facts["bytes"] < 2 * 110
    assert facts["short_of_budget_bytes"] == 0


def test_a_budget_beyond_all_repeats_says_by_how_much_it_is_missed(tmp_path):
    parts = parts_of(web=10)
    facts, (web,) = mixed(tmp_path, parts, budget=Budget(bytes=10_000_000), max_repeats=2)
    assert set(web) == {2}
    assert facts["short_of_budget_bytes"] == 10_000_000 - 2 * size_of(parts[0])


def test_a_larger_weight_takes_the_same_documents_and_more(tmp_path):
    _, (some,) = mixed(tmp_path, parts_of(web=200), weights={"web": 0.3})
    _, (more,) = mixed(tmp_path, parts_of(web=200), weights={"web": 0.6})
    assert (more >= some).all() and more.sum() > some.sum()


def test_which_documents_are_drawn_does_not_depend_on_the_parts(tmp_path):
    whole = [MixPart("web", documents("web", 200))]
    halves = [MixPart("web", documents("web", 100, first=start)) for start in (0, 100)]
    config = {"weights": {"web": 0.4}}
    same = [Weighed(d.row, d.doc_id, 100) for d in whole[0].documents]
    split = [
        MixPart("web", [Weighed(d.row, d.doc_id, 100) for d in half.documents]) for half in halves
    ]
    _, (one,) = mixed(tmp_path, [MixPart("web", same)], **config)
    _, (first, second) = mixed(tmp_path, split, **config)
    assert np.array_equal(one, np.concatenate([first, second]))


def test_another_seed_draws_other_documents(tmp_path):
    _, (one,) = mixed(tmp_path, parts_of(web=200), weights={"web": 0.5})
    _, (other,) = mixed(tmp_path, parts_of(web=200), weights={"web": 0.5}, seed=1)
    assert not np.array_equal(one, other)


def test_a_weight_given_to_the_source_itself_counts(tmp_path):
    _, (web,) = mixed(tmp_path, parts_of(web=20), source_weights={"web": 2.0})
    assert set(web) == {2}


def test_without_settings_nothing_changes(tmp_path):
    assert MixingConfig().changes_nothing({"web": 1.0})
    assert not MixingConfig().changes_nothing({"web": 2.0})
    _, (web,) = mixed(tmp_path, parts_of(web=20))
    assert set(web) == {1}


def test_a_source_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="'boks', there are books, web"):
        mixed(tmp_path, parts_of(web=2, books=2), weights={"boks": 2})


def test_a_mix_of_nothing_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="weights of all sources are 0"):
        mixed(tmp_path, parts_of(web=2), weights={"web": 0})


def test_a_budget_below_every_document_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="the mix is empty"):
        mixed(tmp_path, parts_of(web=2), budget=Budget(bytes=5))


@pytest.mark.parametrize(
    "settings_",
    [
        {"weights": {"a": -1}}, {"weights": {"a": float("nan")}},
        {"shares": {"a": 0.7, "b": 0.7}}, {"weights": {"a": 1}, "shares": {"a": 1}},
        {"budget": {}}, {"budget": {"bytes": 1, "tokens": 1}},
    ],
)  # fmt: skip
def test_settings_that_contradict_themselves_are_refused(settings_):
    with pytest.raises(ValidationError):
        MixingConfig.model_validate(settings_)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 5_000), min_size=1, max_size=40),
    weight=st.floats(0.01, 6),
)
def test_any_weight_takes_its_share_from_below_to_one_document(tmp_path_factory, sizes, weight):
    part = MixPart("s", [Weighed(i, f"s/{i}", size) for i, size in enumerate(sizes)])
    config = MixingConfig(weights={"s": weight}, max_repeats=1000)
    if sum(sizes) * weight < max(sizes) + 1:
        return
    facts = mix_parts([part], config, tmp_path_factory.mktemp("mix"))
    assert -1 <= weight * sum(sizes) - facts["bytes"] <= max(sizes) + 1


def test_copies_are_a_whole_pass_apart():
    rows = [np.flatnonzero(chosen).tolist() for chosen in passes(np.array([1, 0, 3, 2], np.int32))]
    assert rows == [[0, 2, 3], [2, 3], [2]]
    assert list(passes(np.zeros(0, np.int32))) == []


def test_removed_documents_are_not_mixed(tmp_path):
    table = pa.table(
        [["a", "b", "c"], ["xx", "中文", ""], ["s"] * 3, ["{}"] * 3], schema=DOCUMENT_SCHEMA
    )
    removed = pa.table({"row": pa.array([1], pa.int64())})
    for name, content in (("documents.arrow", table), ("removed-0.arrow", removed)):
        with pa.ipc.new_file(str(tmp_path / name), content.schema) as writer:
            writer.write_table(content)
    left = list(PartDocuments(tmp_path / "documents.arrow", tmp_path / "removed-0.arrow"))
    assert left == [Weighed(0, "a", 2), Weighed(2, "c", 0)]
