"""The stage as a whole: what stays, what goes and why, and that every document is counted."""

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.corpus.cleaned import iter_documents, kept_parts, read_kept
from pipeline.corpus.filters.alphabet import AlphabetFilter
from pipeline.corpus.filters.length import LengthFilter
from pipeline.corpus.filters.repetition import RepetitionFilter
from pipeline.corpus.rejects import read_rejected, rejudge
from pipeline.stages.clean_corpus import CleanConfig
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.runtime import Runtime
from tests.corpus.conftest import CHINESE, Recorder, kept_ids, made_up, removals


def near(text: str, *, words: int, tag: str = "other") -> str:
    """The text with its last `words` words replaced: J = (n - w) / (n + w) of n shingles."""
    own = text.split()
    return " ".join(own[: len(own) - words] + [f"{tag}{i}" for i in range(words)])


def test_clean_keeps_chinese_and_repairs_what_it_keeps(clean):
    corpus = clean({f"zh{i}": text for i, text in enumerate(CHINESE)} | {"e": made_up(1) + "\r\n"})
    documents = {document.doc_id: document.text for document in iter_documents(corpus)}
    assert documents == {f"zh{i}": t for i, t in enumerate(CHINESE)} | {"e": made_up(1) + "\n"}
    assert corpus.facts["repaired"] == {"newlines": 1}


def test_clean_keeps_rejects_whole_with_reason_and_measures(clean):
    corpus = clean({"good": made_up(1), "short": "too short", "empty": " \u200b\n"})
    [part] = kept_parts(corpus)
    [rejected] = read_rejected(part.path)
    rows = {row["doc_id"]: row for row in rejected.table.to_pylist()}
    assert rows["short"]["text"] == "too short"
    assert rows["short"]["reason"] == "length.too_few_chars"
    assert rows["empty"]["reason"] == "empty"
    measures = pq.read_table(part.path / "measures.parquet").to_pylist()
    assert [row["doc_id"] for row in measures] == ["good", "short", "empty"]
    assert [row["length.words"] for row in measures] == [120, 2, 0]


@pytest.mark.parametrize(
    "filters",
    [
        (LengthFilter(min_words=150), AlphabetFilter(min_letters=0.9), RepetitionFilter()),
        (RepetitionFilter(max_duplicate_lines=0.0, max_duplicate_grams=(0.0,) * 6), LengthFilter()),
    ],
)
def test_rejudging_stored_measures_equals_cleaning_with_the_new_thresholds(clean, filters):
    texts = {f"d{i}": made_up(i, 60 + 30 * i) + "\nagain and again" * (i % 4) for i in range(12)}
    texts |= {"numbers": "12 345 6789 " * 30, "nothing": "\n", "zh": CHINESE[0]}
    [first] = kept_parts(clean(texts))
    [second] = kept_parts(clean(texts, steps=filters))
    judged = [reason or None for reason in rejudge(first.path, filters).reasons]
    assert judged == pq.read_table(second.path / "measures.parquet")["reason"].to_pylist()
    assert len(set(judged)) > 2


def test_rejudging_with_an_unmeasured_filter_is_refused(clean):
    [part] = kept_parts(clean({"a": made_up(1)}, steps=(LengthFilter(),)))
    with pytest.raises(ConfigError, match="no measures of the filter 'alphabet'"):
        rejudge(part.path, (AlphabetFilter(),))


def test_clean_removes_copies_and_keeps_the_longest(clean):
    text = made_up(1)
    corpus = clean({"a": text, "b": text.replace("\n", "  \n\n"), "c": made_up(2)})
    assert kept_ids(corpus) == ["b", "c"]
    removed = removals(corpus)["a"]
    assert (removed["reason"], removed["duplicate_of"]) == ("exact_duplicate", "b")
    assert removed["jaccard"] == 1


def test_clean_keeps_the_smallest_id_among_equals(clean):
    corpus = clean([{"z": made_up(1)}, {"a": made_up(1), "b": made_up(2)}])
    assert kept_ids(corpus) == ["a", "b"]


def test_clean_removes_near_duplicates_with_the_proof(clean):
    text = made_up(1, 204)  # 200 shingles
    corpus = clean({"long": text + " more", "near": near(text, words=10)})
    assert kept_ids(corpus) == ["long"]
    removed = removals(corpus)["near"]
    assert removed["duplicate_of"] == "long"
    assert removed["jaccard"] == pytest.approx(190 / 211)


def test_clean_keeps_what_is_less_alike_than_the_bound(clean):
    text = made_up(1, 204)
    texts = {"a": text, "b": near(text, words=10)}
    assert len(kept_ids(clean(texts, dedup={"min_jaccard": 0.95}))) == 2
    assert len(kept_ids(clean(texts, dedup={"min_jaccard": 0.80}))) == 1


def test_clean_removes_near_duplicates_in_chinese(clean):
    text = "".join(CHINESE)
    corpus = clean({"a": text, "b": text[:-3] + "很多人", "c": CHINESE[0]})
    assert kept_ids(corpus) == ["a", "c"]


def test_a_chain_of_near_duplicates_loses_only_what_resembles_a_survivor(clean):
    base = made_up(1, 304).split()
    # a~b and b~c at J = 270/330, a and c share 240/360: not alike.
    texts = [
        base,
        base[30:] + [f"x{i}" for i in range(30)],
        base[60:] + [f"y{i}" for i in range(60)],
    ]
    texts[2][-60:-30] = texts[1][-30:]
    longest_first = dict(zip("abc", (" ".join(t) for t in texts), strict=True))
    longest_first["a"] += " " * 40 + "!!"
    corpus = clean(longest_first)
    assert kept_ids(corpus) == ["a", "c"]
    middle_longest = longest_first | {"b": longest_first["b"] + "!" * 2000}
    assert kept_ids(clean(middle_longest)) == ["b"]


def test_clean_excludes_held_out_documents_by_id_and_by_content(clean):
    held = {"secret": made_up(1), "gone": made_up(2)}
    texts = {"secret": made_up(3), "copy": made_up(2).replace("\n", " \n"), "train": made_up(4)}
    corpus = clean(texts, held)
    assert kept_ids(corpus) == ["train"]
    assert corpus.facts["dropped"] == {"held_out": 2}


def test_clean_removes_what_resembles_or_quotes_held_out_text(clean):
    held_text = made_up(1, 204)
    quoted = held_text.replace("\n", " ").split()[:60]
    texts = {
        "near": near(held_text, words=2),
        "mostly-quoted": " ".join(quoted) + "\n" + made_up(2, 100),
        "contains-it-all": made_up(3, 9000) + "\n" + held_text,
        "train": made_up(4),
    }
    corpus = clean(texts, {"held": held_text}, steps=())
    assert kept_ids(corpus) == ["train"]
    reasons = {name: row["reason"] for name, row in removals(corpus).items()}
    assert reasons["mostly-quoted"] == "held_out_overlap"
    assert reasons["contains-it-all"] == "held_out_covered"
    facts = corpus.facts["decontamination"]
    assert (facts["share_seen_before"], facts["share_seen_after"]) == (1.0, 0.0)


def test_a_near_duplicate_of_held_out_text_is_named_as_such(clean):
    held_text = made_up(1, 204)
    off = {"max_overlap": 1.0, "max_covered": 1.0}
    texts = {"near": near(held_text, words=2), "train": made_up(4)}
    corpus = clean(texts, {"held": held_text}, decontamination=off)
    assert removals(corpus)["near"]["reason"] == "held_out_near_duplicate"
    assert removals(corpus)["near"]["duplicate_of"] == "held"
    off["near_duplicates"] = False
    assert kept_ids(clean(texts, {"held": held_text}, decontamination=off)) == ["near", "train"]


def test_overlap_at_the_bound_is_kept(clean):
    held = made_up(1, 200).replace("\n", " ").split()
    # 112 words hold 100 13-grams; 10 of them lie within the first 22 words, 11 within 23.
    text = " ".join(held[:22]) + " " + made_up(2, 90)
    texts = {"at": text, "train": made_up(3)}
    settings = {"max_overlap": 0.10, "max_covered": 1.0}
    assert "at" in kept_ids(clean(texts, {"h": " ".join(held)}, decontamination=settings))
    over = {"at": " ".join(held[:23]) + " " + made_up(2, 89), "train": made_up(3)}
    assert "at" not in kept_ids(clean(over, {"h": " ".join(held)}, decontamination=settings))


def test_every_document_read_is_counted_once(clean):
    files = [
        {f"f{f}-{i}": made_up(100 * f + i) for i in range(5)}
        | {f"copy{f}": made_up(0), f"short{f}": "a b", f"near{f}": near(made_up(1), words=2)}
        for f in range(3)
    ]
    corpus = clean(files, {"f0-2": made_up(2), "x": made_up(104)})
    facts = corpus.facts
    parts = sum(read_kept(part).num_rows for part in kept_parts(corpus))
    assert facts["documents_kept"] == parts == len(kept_ids(corpus))
    assert facts["documents_read"] == 24
    counted = facts["held_out"] + facts["rejected"] + facts["removed"] + facts["documents_kept"]
    assert counted == facts["documents_read"]
    assert sum(facts["dropped"].values()) == 24 - facts["documents_kept"]
    assert sum(row["documents"] for row in facts["funnel"][:-1]) == facts["documents_kept"]
    kept_bytes = sum(len(d.text.encode()) for d in iter_documents(corpus))
    assert facts["bytes_kept"] == kept_bytes


def test_read_kept_gives_the_asked_columns(clean):
    [part] = kept_parts(clean({"a": made_up(1), "b": made_up(1)}))
    table = read_kept(part, columns=("doc_id", "metadata"))
    assert table.to_pylist() == [{"doc_id": "a", "metadata": '{"file":"f0.jsonl","row":0}'}]


def test_a_corpus_of_rejects_only_names_the_reasons(clean):
    with pytest.raises(
        DataError, match=r"all 3 documents were dropped \(2 length.too_few_chars, 1"
    ):
        clean({"a": "x", "b": "y", "c": "12345 678 " * 30})


def test_a_corpus_that_is_held_out_whole_says_so(clean):
    with pytest.raises(DataError, match="2 held_out"):
        clean({"a": made_up(1), "b": made_up(2)}, {"a": made_up(1), "b": made_up(2)})


def test_a_file_of_nothing_but_rejects_is_a_part_of_its_own(clean):
    corpus = clean([{"a": "x"}, {"b": made_up(1)}])
    assert [read_kept(part).num_rows for part in kept_parts(corpus)] == [0, 1]


def test_an_empty_file_is_an_empty_part(clean):
    corpus = clean([{}, {"b": made_up(1)}])
    assert [read_kept(part).num_rows for part in kept_parts(corpus)] == [0, 1]


def test_an_empty_eval_set_decontaminates_nothing(clean):
    corpus = clean({"a": made_up(1)}, {})
    assert kept_ids(corpus) == ["a"]
    assert corpus.facts["decontamination"]["share_seen_after"] == 0


def test_much_decontamination_is_a_warning(clean):
    recorder = Recorder()
    held = made_up(1, 300)
    texts = {f"q{i}": near(held, words=100 + i, tag=f"t{i}-") for i in range(4)}
    clean(texts | {"x": made_up(2)}, {"h": held}, runtime=Runtime(progress=recorder))
    assert [facts["message"] for name, facts in recorder.events if name == "warning"]


@pytest.mark.parametrize(
    "settings",
    [
        {"mixing": {"weights": {"wbe": 1}}},
        {"mixing": {"shares": {"wbe": 0.5}}},
        {"dedup": {"keep": {"sources": ["wbe"]}}},
    ],
)
def test_a_source_that_is_not_there_is_a_wrong_setting_before_anything_is_read(settings):
    sources = [{"kind": "jsonl", "name": "web", "paths": ["nowhere"]}]
    with pytest.raises(ValidationError, match="names the source 'wbe'; there are web"):
        CleanConfig.model_validate({"sources": sources, **settings})
