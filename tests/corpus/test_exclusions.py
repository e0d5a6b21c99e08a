"""A listed document is not trained on, is counted, and changes the identity of the corpus."""

import json
from pathlib import Path

import pytest

from pipeline.corpus.exclusions import (
    Exclusion,
    add_exclusion,
    excluded_from,
    read_exclusions,
)
from pipeline.store.errors import ConfigError
from tests.corpus.conftest import Cleaner, kept_ids, made_up, removals

FILES = [
    {"a": made_up(1), "b": made_up(2), "c": made_up(3)},
    {"copy of a": made_up(1), "d": made_up(4), "short": "no"},
]


def listed(root: Path, *doc_ids: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"doc_id": doc_id}) for doc_id in doc_ids]
    (root / "exclusions.jsonl").write_text("\n".join(lines))


def test_listed_document_leaves_and_is_counted(clean: Cleaner, tmp_path: Path) -> None:
    before = clean(FILES)
    listed(tmp_path / "root", "b", "short", "nobody")
    after = clean(FILES)
    assert kept_ids(before) == ["a", "b", "c", "d"] and kept_ids(after) == ["a", "c", "d"]
    assert removals(after)["b"]["reason"] == "excluded"
    assert after.facts["exclusions"] == {
        "listed": 3, "removed": 1, "copies_removed": 0, "gone_already": 0
    }  # fmt: skip
    assert after.facts["dropped"]["excluded"] == 1
    assert {row["step"]: row["documents"] for row in after.facts["funnel"]}["excluded"] == -1
    read, kept = after.facts["documents_read"], after.facts["documents_kept"]
    assert read - sum(after.facts["dropped"].values()) == kept == 3
    assert after.facts["bytes_kept"] == before.facts["bytes_kept"] - len(made_up(2))
    assert "excluded" not in before.facts["dropped"] and "exclusions" not in before.facts


def test_identity_is_what_is_listed_not_how(clean: Cleaner, tmp_path: Path) -> None:
    root = tmp_path / "root"
    plain = clean(FILES)
    listed(root, "b", "c")
    one = clean(FILES)
    (root / "exclusions.jsonl").write_text('# asked for on Monday\nc\n\n{"doc_id": "b"}\nb\n')
    assert clean(FILES).fingerprint == one.fingerprint != plain.fingerprint
    named = tmp_path / "elsewhere.txt"
    named.write_text("b\nc\n")
    (root / "exclusions.jsonl").unlink()
    assert clean(FILES, exclusions=str(named)).fingerprint == one.fingerprint
    (root / "exclusions.jsonl").write_text("\n# none\n")
    assert clean(FILES).fingerprint == plain.fingerprint
    listed(root, "c")
    assert clean(FILES).fingerprint not in (one.fingerprint, plain.fingerprint)


@pytest.mark.parametrize(
    ("doc_id", "reasons"),
    [
        ("a", {"a": "excluded", "copy of a": "exact_duplicate"}),
        ("copy of a", {"a": "excluded_copy", "copy of a": "exact_duplicate"}),
    ],
)
def test_no_copy_of_a_listed_document_stays(
    clean: Cleaner, tmp_path: Path, doc_id: str, reasons: dict[str, str]
) -> None:
    listed(tmp_path / "root", doc_id)
    corpus = clean(FILES)
    assert kept_ids(corpus) == ["b", "c", "d"]
    assert {name: row["reason"] for name, row in removals(corpus).items()} == reasons
    assert doc_id in excluded_from(corpus) and {"a"} & excluded_from(corpus)


def test_exclusion_of_one_source_leaves_the_same_id_of_another(
    clean: Cleaner, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "exclusions.jsonl").write_text('{"doc_id": "b", "source": "another"}\n')
    assert "b" in kept_ids(clean(FILES))
    (root / "exclusions.jsonl").write_text('{"doc_id": "b", "source": "test"}\n')
    assert "b" not in kept_ids(clean(FILES))


def test_adding_is_safe_to_repeat_and_keeps_what_stands_there(tmp_path: Path) -> None:
    (tmp_path / "exclusions.jsonl").write_text("# by hand\nold id")
    path = add_exclusion(tmp_path, "new\nid", source="web", reason="asked by its author")
    assert path == tmp_path / "exclusions.jsonl"
    assert add_exclusion(tmp_path, "new\nid", source="web") is None
    assert add_exclusion(tmp_path, "old id", source="web") is None  # listed for every source
    assert path.read_text().startswith("# by hand\nold id\n{")
    assert read_exclusions(tmp_path).listed == (
        Exclusion("new\nid", "web"), Exclusion("old id"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    ['{"doc_id": 3}', '{"doc": "x"}', "{broken", '{"doc_id": ""}', '{"doc_id": "x", "source": 1}'],
)
def test_a_line_that_is_no_exclusion_is_refused_with_its_place(tmp_path: Path, line: str) -> None:
    (tmp_path / "exclusions.jsonl").write_text(f"good\n{line}\n")
    with pytest.raises(ConfigError, match="line 2"):
        read_exclusions(tmp_path)


def test_named_list_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        read_exclusions(tmp_path, str(tmp_path / "missing.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_exclusions(tmp_path, str(tmp_path / "bytes.txt"))
