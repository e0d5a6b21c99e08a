"""The comparison across parts: who leaves, who stays for whom, whatever the order and the size."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.dedup import spill
from pipeline.corpus.dedup.settings import DedupConfig, KeepRule
from pipeline.store.errors import ConfigError, DataError
from tests.corpus.conftest import made_up
from tests.corpus.dedup_world import merge_texts

SURE = DedupConfig(bands=64, band_rows=1, shingle_words=2, min_jaccard=0.5, max_source_loss=1)
"""Of pairs at least half alike one in 2^64 is not compared: the result equals that of all pairs."""


def expected(documents: dict[str, str], dedup: DedupConfig) -> set[str]:
    """Who leaves, by comparing everyone with everyone who stays, in order of preference."""
    size = dedup.shingle_words
    stays: list[tuple[str, set[tuple[str, ...]]]] = []
    keys: set[str] = set()
    leaves = set()
    for doc_id in sorted(documents, key=lambda name: (-len(documents[name]), name)):
        text = documents[doc_id]
        words = text.split()
        sets = {tuple(words[i : i + size]) for i in range(max(1, len(words) - size + 1))}
        alike = [
            other for _, other in stays
            if words and other and len(sets & other) / len(sets | other) >= dedup.min_jaccard
        ]  # fmt: skip
        if " ".join(words) in keys or alike:
            leaves.add(doc_id)
        else:
            stays.append((doc_id, sets if words else set()))
        keys.add(" ".join(words))
    return leaves


WORDS = st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), max_size=9).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=12), st.integers(1, 4))
def test_merge_removes_what_comparing_everyone_with_everyone_removes(
    texts: list[str], num_parts: int
) -> None:
    documents = {f"d{i}": text for i, text in enumerate(texts)}
    parts = [
        ("s", {k: documents[k] for k in list(documents)[i::num_parts]}) for i in range(num_parts)
    ]
    with tempfile.TemporaryDirectory() as place:
        removed, _ = merge_texts(Path(place), parts, SURE)
    assert set(removed) == expected(documents, SURE)
    for row in removed.values():
        assert row["keeper"] is not None and row["keeper"] not in removed
        assert row["jaccard"] >= SURE.min_jaccard


def test_results_depend_neither_on_partitions_nor_on_the_order_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {f"d{i}": made_up(i % 40, 60 + i % 7) for i in range(200)}
    halves = [dict(list(texts.items())[:90]), dict(list(texts.items())[90:])]
    dedup = DedupConfig(max_source_loss=1)
    whole = merge_texts(tmp_path / "a", [("s", half) for half in halves], dedup)
    monkeypatch.setattr(spill, "PARTITION_RECORDS", 16)
    small = merge_texts(tmp_path / "b", [("s", half) for half in halves], dedup)
    assert small == whole
    turned = merge_texts(tmp_path / "c", [("s", half) for half in halves[::-1]], dedup)
    assert {k: v["keeper"] for k, v in turned[0].items()} == {
        k: v["keeper"] for k, v in whole[0].items()
    }


def chain() -> dict[str, str]:
    """a~b and b~c at J = 270/330, a and c share 240/360: not alike."""
    base = made_up(1, 304).split()
    b = base[30:] + [f"x{i}" for i in range(30)]
    c = base[60:] + b[-30:] + [f"y{i}" for i in range(30)]
    return {name: " ".join(words) for name, words in zip("abc", (base, b, c), strict=True)}


def test_verified_chains_lose_what_resembles_a_survivor_unverified_ones_all_but_one(
    tmp_path: Path,
) -> None:
    texts = chain()
    texts["a"] += " " * 40
    verified, _ = merge_texts(tmp_path / "v", [("s", texts)], DedupConfig(bands=28, band_rows=4))
    closure = DedupConfig(bands=28, band_rows=4, closure="unverified")
    unverified, facts = merge_texts(tmp_path / "u", [("s", texts)], closure)
    assert set(verified) == {"b"}
    assert set(unverified) == {"b", "c"}
    assert unverified["c"]["duplicate_of"] == "a"
    assert unverified["c"]["jaccard"] == pytest.approx(240 / 360, abs=0.01)
    assert facts["clusters"]["largest"][0]["size"] == 3


def test_many_copies_of_one_document_leave_one(tmp_path: Path) -> None:
    text = made_up(1, 30)
    copies = {f"c{i:05d}": text for i in range(10_000)}
    removed, facts = merge_texts(tmp_path, [("s", copies)], DedupConfig())
    assert len(removed) == 9_999
    assert {row["keeper"] for row in removed.values()} == {"c00000"}
    assert facts["clusters"]["number"] == 1
    assert facts["clusters"]["largest"][0]["size"] == 10_000
    assert len(facts["clusters"]["largest"][0]["members"]) == 20


def test_a_crowd_of_near_copies_leaves_one_and_is_compared_in_linear_time(tmp_path: Path) -> None:
    text = made_up(1, 100)
    crowd = {f"c{i:04d}": f"{text} tail{i}" for i in range(2_000)}
    removed, facts = merge_texts(tmp_path, [("s", crowd)], DedupConfig(max_source_loss=1))
    assert len(removed) == 1_999
    assert facts["deduplication"]["crowded_buckets"] > 0
    assert facts["deduplication"]["compared_pairs"] <= 3 * 2_000


def test_empty_and_tiny_documents_are_compared_as_they_are(tmp_path: Path) -> None:
    texts = {"e1": "", "e2": "  ", "p": "!!!", "one": "word", "same": "word ", "two": "two words"}
    removed, _ = merge_texts(tmp_path, [("s", texts)], DedupConfig())
    assert set(removed) == {"e1", "one"}  # the longer one stays
    assert removed["one"]["duplicate_of"] == "same"


def test_a_copy_of_a_near_duplicate_names_the_one_that_stays(tmp_path: Path) -> None:
    text = made_up(1, 300)
    texts = {
        "long": text + " and more",
        "near": text,
        "twin": text.replace(" ", "  ", 1)[:-1] + ".",
    }
    removed, _ = merge_texts(tmp_path, [("s", texts)], DedupConfig())
    assert {name: row["keeper"] for name, row in removed.items()} == {
        "near": "long", "twin": "long",
    }  # fmt: skip


def test_keep_prefers_sources_then_length_then_the_smallest_id(tmp_path: Path) -> None:
    text = made_up(1, 300)
    parts = [
        ("web", {"w": text + " longer", "b": made_up(2)}),
        ("wiki", {"k": text, "a": made_up(2)}),
    ]
    by_length, _ = merge_texts(tmp_path / "l", parts, DedupConfig())
    assert set(by_length) == {"k", "a"}  # of equals the first source
    wiki = DedupConfig(keep=KeepRule(sources=("wiki",)))
    assert set(merge_texts(tmp_path / "s", parts, wiki)[0]) == {"w", "b"}
    short = DedupConfig(keep=KeepRule(length="shortest"))
    assert set(merge_texts(tmp_path / "t", parts, short)[0]) == {"w", "a"}
    ids = [("s", {"z": text, "m": made_up(3)}), ("s", {"a": text})]
    assert set(merge_texts(tmp_path / "i", ids, DedupConfig())[0]) == {"z"}


def test_keep_names_only_sources_that_are_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'wkii', which is no source; there are \\['wiki'\\]"):
        rule = DedupConfig(keep=KeepRule(sources=("wkii",)))
        merge_texts(tmp_path, [("wiki", {"a": "x"})], rule)


def test_a_source_that_near_duplicates_would_wipe_out_stops_the_run(tmp_path: Path) -> None:
    text = made_up(1, 200)
    forms = {f"f{i:02d}": f"{text} case{i}" for i in range(20)}
    parts = [("prose", {"p": made_up(2)}), ("forms", forms)]
    with pytest.raises(DataError, match=r"source 'forms' would lose 19 of 20 documents \(95.0%\)"):
        merge_texts(tmp_path / "a", parts, DedupConfig())
    removed, _ = merge_texts(tmp_path / "b", parts, DedupConfig(max_source_loss=0.95))
    assert len(removed) == 19
    copies = {f"f{i:02d}": text for i in range(20)}  # copies are no accident of similarity
    assert len(merge_texts(tmp_path / "c", [("forms", copies)], DedupConfig())[0]) == 19


def test_documents_of_thirty_megabytes_are_compared_like_others(tmp_path: Path) -> None:
    large = " ".join(map(str, range(3_900_000)))
    assert len(large) > 30_000_000
    texts = {"large": large, "almost": large[:-200], "small": made_up(1)}
    removed, _ = merge_texts(tmp_path, [("s", texts)], DedupConfig())
    assert removed["almost"]["duplicate_of"] == "large"
    assert 0.9999 < removed["almost"]["jaccard"] < 1


def test_a_merge_leaves_nothing_behind_but_its_lists(tmp_path: Path) -> None:
    merge_texts(tmp_path, [("s", {"a": made_up(1), "b": made_up(2)})], DedupConfig())
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["removed-0.arrow"]
