"""Deduplication inside `clean`: addresses, lines, earlier corpora, and what is reused."""

import hashlib
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.cleaned import iter_kept, kept_parts, read_cuts
from pipeline.corpus.mixing import MIX_SCHEMA, mix_name
from pipeline.store.errors import ConfigError
from tests.corpus.conftest import CHINESE, made_up, removals
from tests.corpus.dedup_world import clean_sources, row, texts_of
from tests.corpus.test_clean_reuse import contents

NOTICE = "This page may not be copied without a written permission of its owner."


def pages(first: int, count: int) -> list[dict[str, str]]:
    """Documents of their own, every third a near copy of the one before."""
    rows = []
    for i in range(first, first + count):
        text = made_up(i - (i % 3 == 2), 90) + (" again" if i % 3 == 2 else "")
        rows.append(row(f"p{i}", text))
    return rows


def test_of_one_address_the_longest_stays(tmp_path: Path) -> None:
    rows = [
        row("old", made_up(1, 60), url="http://www.a.example/page/"),
        row("new", made_up(2, 90), url="https://a.example/page#top"),
        row("other", made_up(3), url="https://a.example/page2"),
        row("none", made_up(4)),
        row("neither", made_up(5)),
    ]
    corpus = clean_sources(tmp_path, {"web": rows}, dedup={"url": True})
    assert set(texts_of(corpus)) == {"new", "other", "none", "neither"}
    removed = removals(corpus)["old"]
    assert (removed["reason"], removed["keeper"]) == ("duplicate_url", "new")
    assert removed["jaccard"] is None
    assert len(texts_of(clean_sources(tmp_path, {"web": rows}))) == 5


def test_repeated_lines_are_cut_and_the_first_in_preference_stays(tmp_path: Path) -> None:
    rows = [
        row("long", made_up(1, 90) + f"\n{NOTICE}"),
        row("middle", f"{NOTICE}\n" + made_up(2, 60) + f"\n  {NOTICE}  \nThe end."),
        row("zh", CHINESE[0] * 2 + "\n" + CHINESE[1] * 2),
        row("short", f"Short.\n\n{NOTICE}\nThe end.\n{CHINESE[1] * 2}\n" + made_up(3, 30)),
    ]
    corpus = clean_sources(tmp_path, {"web": rows}, dedup={"lines": {"min_chars": 20}})
    texts = texts_of(corpus)
    assert texts["long"] == rows[0]["text"]
    assert texts["middle"] == made_up(2, 60) + "\nThe end."
    assert texts["short"] == f"Short.\n\nThe end.\n{CHINESE[1] * 2}\n" + made_up(3, 30)
    assert texts["zh"] == CHINESE[0] * 2 + "\n"  # the shorter of the two that have the other line
    before = sum(len(r["text"].encode()) for r in rows)
    after = sum(len(text.encode()) for text in texts.values())
    facts = corpus.facts
    assert facts["deduplication"]["trimmed_bytes"] == before - after
    assert facts["deduplication"]["trimmed_documents"] == 3
    assert facts["bytes_kept"] == after
    assert sum(group["bytes_kept"] for group in facts["by_language"].values()) == after
    assert {c["reason"] for c in read_cuts(corpus.path, 0).to_pylist()} == {"repeated_line"}


def test_repeated_paragraphs_are_cut_with_their_blank_lines(tmp_path: Path) -> None:
    block = "Call us any day\nbetween nine and five at our office."
    rows = [
        row("a", made_up(1, 90) + f"\n\n{block}"),
        row("b", f"{made_up(2, 30)}\n\n{block}\n\n\n{made_up(3, 20)}"),
        row("c", f"{made_up(4, 20)}\n\nbetween nine and five at our office.\n\nmore"),
    ]
    lines = {"unit": "paragraph", "min_chars": 20}
    texts = texts_of(clean_sources(tmp_path, {"web": rows}, dedup={"lines": lines}))
    assert texts["b"] == f"{made_up(2, 30)}\n\n{made_up(3, 20)}"
    assert texts["c"] == rows[2]["text"]


def test_a_document_of_little_but_repeated_lines_leaves(tmp_path: Path) -> None:
    lines = [f"{NOTICE} Part {i} of the long notice." for i in range(10)]
    rows = [
        row("first", "\n".join(lines) + "\n" + made_up(1)),
        row("nothing-else", "\n".join(lines[:3])),
        row("much", "\n".join(lines[:9]) + "\nand a tail of its own"),
        row("half", "\n".join(lines[:2]) + "\n" + made_up(2, 30)),
    ]
    dedup = {"lines": {"min_chars": 20, "max_lost": 0.9}, "near": False}
    corpus = clean_sources(tmp_path, {"web": rows}, dedup=dedup)
    assert set(texts_of(corpus)) == {"first", "half"}
    assert {r["reason"] for r in removals(corpus).values()} == {"repeated_lines"}
    assert corpus.facts["dropped"] == {"repeated_lines": 2}


def test_cuts_change_the_fingerprint_of_what_is_kept_but_not_the_part(tmp_path: Path) -> None:
    rows = [row("a", made_up(1) + f"\n{NOTICE}"), row("b", made_up(2, 60) + f"\n{NOTICE}")]
    lines = {"min_chars": 20}
    alone = clean_sources(tmp_path, {"web": [rows[1:]]}, dedup={"lines": lines})
    both = clean_sources(tmp_path, {"web": [rows[1:], rows[:1]]}, dedup={"lines": lines})
    first, second = kept_parts(alone)[0], kept_parts(both)[0]
    assert first.path == second.path
    assert first.fingerprint != second.fingerprint
    assert texts_of(both)["b"] == made_up(2, 60) + "\n"
    assert [b.num_bytes.tolist() for b in iter_kept(second, ("text",))] == [
        [len(made_up(2, 60)) + 1]
    ]


def test_documents_of_an_earlier_corpus_are_not_wanted_again(tmp_path: Path) -> None:
    monday = [row("m1", made_up(1)), row("m2", made_up(2)), row("m3", made_up(2) + " ")]
    tuesday = [row("t1", made_up(1)), row("t2", made_up(3)), row("t3", made_up(2) + " more")]
    earlier = clean_sources(tmp_path / "mon", {"web": monday}, root=tmp_path / "root")
    later = clean_sources(
        tmp_path / "tue", {"web": tuesday}, root=tmp_path / "root", dedup={"against": [earlier.ref]}
    )
    assert set(texts_of(later)) == {"t2"}
    removed = removals(later)
    assert (removed["t1"]["reason"], removed["t1"]["duplicate_of"]) == ("exact_duplicate", "m1")
    assert removed["t3"]["reason"] == "near_duplicate"
    assert {r["duplicate_in"] for r in removed.values()} == {earlier.ref}
    assert {r["keeper"] for r in removed.values()} == {None}  # nobody of this corpus
    assert later.facts["clusters"]["largest"][0]["keeper_in"] == earlier.ref


def test_a_source_that_an_earlier_corpus_holds_whole_may_leave(tmp_path: Path) -> None:
    monday = [row(f"m{i}", made_up(i)) for i in range(12)]
    tuesday = [row(f"t{i}", made_up(i) + " seen again") for i in range(12)] + [
        row("n", made_up(99))
    ]
    earlier = clean_sources(tmp_path / "mon", {"web": monday}, root=tmp_path / "root")
    later = clean_sources(
        tmp_path / "tue", {"web": tuesday}, root=tmp_path / "root", dedup={"against": [earlier.ref]}
    )
    assert set(texts_of(later)) == {"n"}


def test_an_earlier_corpus_enters_the_identity_by_content_not_by_path(tmp_path: Path) -> None:
    monday, tuesday = [row("m", made_up(1))], [row("t", made_up(2))]
    root = tmp_path / "root"
    earlier = clean_sources(tmp_path / "mon", {"web": monday}, root=root)
    results = [
        clean_sources(tmp_path / "tue", {"web": tuesday}, root=root, dedup={"against": [against]})
        for against in (earlier.ref, str(earlier.path))
    ]
    alone = clean_sources(tmp_path / "tue", {"web": tuesday}, root=root)
    assert results[0].fingerprint == results[1].fingerprint != alone.fingerprint
    assert results[0].part_paths() == alone.part_paths()  # signatures are made once


def earlier_of(place: Path, **config: object) -> CleanedCorpus:
    rows = [row("m", made_up(1))]
    return clean_sources(place, {"web": rows}, root=place / "root", **config)


def test_an_earlier_corpus_of_other_signatures_is_refused(tmp_path: Path) -> None:
    earlier = earlier_of(tmp_path, dedup={"shingle_words": 3})
    rows = {"web": [row("t", made_up(2))]}
    with pytest.raises(ConfigError, match="cleaned with shingle_words=3, this run has 5"):
        clean_sources(tmp_path, rows, dedup={"against": [earlier.ref]})


def test_an_earlier_corpus_that_shares_a_file_with_this_one_is_refused(tmp_path: Path) -> None:
    earlier = earlier_of(tmp_path)
    with pytest.raises(ConfigError, match="share the part"):
        clean_sources(tmp_path, {"web": [row("m", made_up(1))]}, dedup={"against": [earlier.ref]})


@pytest.mark.parametrize("reference", ["clean@0123456789ab", "/nowhere/at/all", "tokenize@00"])
def test_an_earlier_corpus_that_is_not_there_is_refused(tmp_path: Path, reference: str) -> None:
    with pytest.raises(ConfigError, match="clean.dedup.against"):
        clean_sources(tmp_path, {"web": [row("a", made_up(1))]}, dedup={"against": [reference]})


def test_adding_files_one_by_one_ends_with_the_bytes_of_doing_all_at_once(tmp_path: Path) -> None:
    files = [[*pages(9 * i, 9), row(f"n{i}", made_up(50 + i) + f"\n{NOTICE}")] for i in range(4)]
    files[3] += pages(0, 4)[1:]
    files[3] = [row(f"x{i}", r["text"]) for i, r in enumerate(files[3])]
    dedup = {"lines": {"min_chars": 20}, "url": True}
    for count in range(1, 5):
        last = clean_sources(tmp_path / "steps", {"web": files[:count]}, dedup=dedup)
    stamps = {path: path.stat().st_mtime_ns for path in last.part_paths()}
    whole = clean_sources(tmp_path / "whole", {"web": files}, dedup=dedup)
    assert last.fingerprint == whole.fingerprint
    mine, theirs = (contents(place / "root") for place in (tmp_path / "steps", tmp_path / "whole"))
    assert {name: mine[name] for name in theirs} == theirs
    assert len(stamps) == 4


def test_a_second_run_only_merges(tmp_path: Path) -> None:
    first = clean_sources(tmp_path, {"web": [pages(0, 6), pages(6, 6)]})
    stamps = {path: digest_of(path) for path in first.part_paths()}
    second = clean_sources(tmp_path, {"web": [pages(0, 6), pages(6, 6), pages(12, 6)]})
    other = clean_sources(
        tmp_path, {"web": [pages(0, 6), pages(6, 6)]}, dedup={"min_jaccard": 0.99, "bands": 28,
                                                              "band_rows": 4},
    )  # fmt: skip
    assert second.part_paths()[:2] == first.part_paths() == other.part_paths()
    assert {path: digest_of(path) for path in stamps} == stamps
    assert len(texts_of(other)) > len(texts_of(first))  # thresholds are no part of a part


def test_a_mixed_part_is_read_once_per_copy_less_what_was_cut(tmp_path: Path) -> None:
    rows = [row("a", made_up(1) + f"\n{NOTICE}"), row("b", made_up(2, 60) + f"\n{NOTICE}"),
            row("c", made_up(3)), row("d", made_up(3))]  # fmt: skip
    corpus = clean_sources(tmp_path, {"web": rows}, dedup={"lines": {"min_chars": 20}})
    (part,) = kept_parts(corpus)
    with pa.ipc.new_file(str(corpus.path / mix_name(0)), MIX_SCHEMA) as writer:
        table = pa.table({"row": [0, 1], "repeats": [0, 3]}, schema=MIX_SCHEMA)
        writer.write_table(table)
    (mixed,) = kept_parts(corpus)
    assert mixed.fingerprint != part.fingerprint
    read = [d for batch in iter_kept(mixed) for d in zip(batch.doc_ids, batch.texts, strict=True)]
    assert [doc_id for doc_id, _ in read] == ["b", "c", "b", "b"]
    assert {text for doc_id, text in read if doc_id == "b"} == {made_up(2, 60) + "\n"}


def digest_of(path: Path) -> tuple[int, str]:
    file = path / "signatures.arrow"
    return file.stat().st_mtime_ns, hashlib.sha256(file.read_bytes()).hexdigest()
