"""Bias is measured: who is mentioned, how often such texts are dropped, and how sure that is."""

import json

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.corpus.bias import (
    ANY_RULE,
    BiasCounts,
    GroupFile,
    bias_rows,
    bias_table,
    mentions,
    shipped_groups,
)
from pipeline.corpus.document import TextBatch
from pipeline.corpus.intervals import auc_interval, ratio_interval, wilson
from pipeline.store.errors import ConfigError


def measures(rows: list[tuple[list[str], dict[str, bool]]]) -> pa.Table:
    groups = sorted({name for _, found in rows for name in found})
    columns = {"reasons": pa.array([reasons for reasons, _ in rows], pa.list_(pa.string()))}
    for name in groups:
        columns[f"mentions.{name}"] = pa.array([found.get(name, False) for _, found in rows])
    return pa.table(columns)


def world(share_of_group: float, share_of_others: float, size: int = 1000) -> pa.Table:
    """Half the documents mention `us`; a rule drops these and the others at two rates."""
    rows = []
    for i in range(size):
        mine = i % 2 == 0
        dropped = (i // 2) % 100 < 100 * (share_of_group if mine else share_of_others)
        rows.append((["words.too_many"] if dropped else [], {"us": mine}))
    return measures(rows)


def test_mentions_find_groups_in_both_languages():
    found = mentions(TextBatch.of(["A Muslim woman", "穆斯林女性", "a womanly gayal", ""]))
    assert found["muslims"].tolist() == [True, True, False, False]
    assert found["women"].tolist() == [True, True, False, False]
    assert found["gay_people"].tolist() == [False] * 4
    assert set(found) == {group.name for group in shipped_groups().groups()}


def test_disproportionate_rule_is_flagged_and_an_even_one_is_not():
    flagged = [row for row in bias_table([world(0.4, 0.1)]) if row.flagged]
    assert {(row.rule, row.group) for row in flagged} == {
        ("words.too_many", "us"), (ANY_RULE, "us"),
    }  # fmt: skip
    row = flagged[0]
    assert (row.mentioning, row.dropped, row.rate, row.overall) == (500, 200, 0.4, 0.25)
    assert row.ratio == pytest.approx(1.6) and row.ratio_interval[0] > 1
    assert not any(row.flagged for row in bias_table([world(0.2, 0.2)]))


def test_few_documents_prove_nothing():
    rows = bias_table([measures([(["r.x"], {"us": True}), ([], {"us": False})] * 2)])
    assert [row.ratio for row in rows] == [2.0, 2.0]
    assert not any(row.flagged for row in rows)


def test_counts_of_parts_add_up_to_those_of_the_whole():
    parts = [world(0.4, 0.1, 400), world(0.1, 0.3, 600)]
    assert bias_table(parts) == bias_table([pa.concat_tables(parts)])
    counts = BiasCounts()
    for part in parts:
        counts.add(part)
    assert bias_rows(counts) == bias_table(parts)


def test_every_objection_counts_not_only_the_first():
    rows = bias_table([measures([(["a.x", "b.y"], {"us": True}), ([], {"us": False})])])
    assert {row.rule: row.dropped for row in rows} == {"a.x": 1, "b.y": 1, ANY_RULE: 1}


def test_rules_that_drop_nothing_have_no_ratio():
    (row,) = bias_table([measures([([], {"us": True}), ([], {"us": False})])])
    assert (row.rule, row.rate, row.ratio, row.flagged) == (ANY_RULE, 0.0, None, False)


def test_parts_without_mentions_are_refused():
    with pytest.raises(ConfigError, match="no mentions"):
        bias_table([pa.table({"reasons": pa.array([[]], pa.list_(pa.string()))})])


def test_tables_with_first_reasons_only_and_nulls_are_read():
    table = pa.table({"reason": ["a.x", None], "mentions.us": pa.array([None, True])})
    assert {(r.rule, r.dropped) for r in bias_table([table])} == {("a.x", 0), (ANY_RULE, 0)}


def test_intervals_cover_what_they_promise():
    rng = np.random.default_rng(0)
    hits = []
    for _ in range(1000):
        ours, others = rng.binomial(200, 0.2), rng.binomial(800, 0.1)
        low, high = ratio_interval(int(ours), 200, int(ours + others), 1000)
        hits.append(low <= 0.2 / 0.12 <= high)
    assert 0.93 <= np.mean(hits) <= 0.975
    covered = [low <= 0.1 <= high for low, high in
               (wilson(int(k), 100) for k in rng.binomial(100, 0.1, 1000))]  # fmt: skip
    assert 0.92 <= np.mean(covered) <= 0.98
    assert wilson(0, 10)[0] == 0 and wilson(10, 10)[1] == 1 and wilson(0, 0) == (0, 1)
    assert auc_interval(1.0, 10, 10) == (1.0, 1.0)


def test_groups_can_be_edited_and_are_known_by_content(tmp_path):
    path = tmp_path / "groups.yaml"
    path.write_text("sports:\n  chess: {en: [chess, rook], zh: [国际象棋]}\n", encoding="utf-8")
    file = GroupFile.model_validate(str(path))
    assert [(g.name, g.category) for g in file.groups()] == [("chess", "sports")]
    assert mentions(TextBatch.of(["国际象棋"]), file)["chess"].tolist() == [True]
    assert json.loads(file.model_dump_json())["sha256"] == file.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "must read"),
        ("a: [b]", "holds no groups"),
        ("a: {b: [c]}", "no lists of words"),
        ("a: {b: {en: [yes]}}", "no lists of words"),
        ("a: {b: {en: []}}", "has no words"),
        ("a: {b: {en: [x]}}\nc: {b: {en: [y]}}", "twice"),
        ("a: {'../b': {en: [x]}}", "not a usable name"),
        ("a: {", "not valid YAML"),
    ],
)
def test_unusable_group_files_are_wrong_settings(tmp_path, content, message):
    path = tmp_path / "groups.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValidationError, match=message):
        GroupFile.model_validate(str(path))
