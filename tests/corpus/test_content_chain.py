"""The steps about content in a real cleaning run: into the artifact, explained, and reused."""

from pathlib import Path

import pyarrow.parquet as pq

from pipeline.corpus.bias import bias_table
from pipeline.corpus.classifying.linear import save_filter
from pipeline.corpus.classifying.training import FilterConfig, train_filter
from pipeline.corpus.cleaned import iter_documents
from pipeline.corpus.filters.classifier import ClassifierFilter
from pipeline.corpus.filters.word_list import HarmfulWords
from pipeline.corpus.rewrites.harmful_lines import HarmfulLines
from pipeline.corpus.rewrites.personal_data import PersonalData
from pipeline.store.manifest import read_manifest
from tests.corpus.conftest import Cleaner, kept_ids, made_up

HARMFUL = "verboten " * 8


def quality(directory: Path) -> str:
    """A filter that tells made-up English from digits in words."""
    good = [made_up(seed) for seed in range(100)]
    bad = [f"row {seed} " + " ".join(f"x{seed}y{i} z" for i in range(40)) for seed in range(100)]
    save_filter(train_filter(FilterConfig(), good, bad), directory)
    return str(directory)


def test_content_steps_clean_and_are_recorded(clean: Cleaner, tmp_path: Path):
    words = tmp_path / "words.txt"
    words.write_text("verboten\n", encoding="utf-8")
    steps = (
        PersonalData(),
        HarmfulLines(lists=(str(words),), max_matches=3),
        HarmfulWords(lists=(str(words),), max_matches=0),
        ClassifierFilter(model=quality(tmp_path / "quality")),
    )
    texts = {
        "mail": f"{made_up(1001)}\nwrite to a@b.com or +44 20 7946 0958, woman",
        "lines": f"{made_up(1002)}\n{HARMFUL}\nthe end",
        "word": f"{made_up(1003)}\nverboten",
        "noise": " ".join(f"x{i}y{i} z" for i in range(60)),
    }
    corpus = clean([texts, {"other": made_up(1004)}], steps=steps)
    kept = {document.doc_id: document.text for document in iter_documents(corpus)}
    assert len(kept) == 3
    mail = next(text for text in kept.values() if "write to" in text)
    assert mail.endswith("write to email@example.com or <PHONE_NUMBER>, woman")
    assert not any("verboten" in text for text in kept.values())
    facts = read_manifest(corpus.path).facts
    assert facts["dropped"] == {"classifier.low_score": 1, "harmful_words.too_many": 1}
    table = pq.read_table(corpus.part_paths()[0] / "measures.parquet")
    assert sorted(table.column("personal_data.emails").to_pylist()) == [0, 0, 0, 1]
    assert sorted(table.column("harmful_lines.lines").to_pylist()) == [0, 0, 0, 1]
    rows = {(row.rule, row.group): row for row in bias_table([table])}
    assert rows["harmful_words.too_many", "women"].mentioning == 1
    assert str(tmp_path) not in (corpus.path / "manifest.json").read_text(encoding="utf-8")


def test_a_moved_list_changes_nothing_and_another_one_does(clean: Cleaner, tmp_path: Path):
    texts = {"a": made_up(1), "b": made_up(2) + "\nverboten", "c": made_up(3) + "\nauch"}
    found = []
    for name, word in (("one.txt", "verboten"), ("two.txt", "verboten"), ("three.txt", "auch")):
        path = tmp_path / name
        path.write_text(f"{word}\n", encoding="utf-8")
        corpus = clean(texts, steps=(HarmfulWords(lists=(str(path),), max_matches=0),))
        found.append((corpus.fingerprint, [i[-1] for i in kept_ids(corpus)]))
    assert found[0] == found[1] != found[2]
    assert [kept for _, kept in found] == [["a", "c"], ["a", "c"], ["a", "b"]]
