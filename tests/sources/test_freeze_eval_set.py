import json
import unicodedata

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.stages.freeze_eval_set import EvalSetConfig, freeze_eval_set, light_text
from pipeline.store.errors import ArtifactError, DataError, NotBuilt
from pipeline.store.manifest import verify
from pipeline.store.runtime import Runtime


def corpus(tmp_path, name="web", count=200, prefix="d") -> JsonlSource:
    path = tmp_path / f"{name}.jsonl"
    rows = (
        {"id": f"{prefix}{i}", "text": f"{name} {i} " + "word " * (60 + i % 50)}
        for i in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return JsonlSource(name=name, paths=(str(path),))


def freeze(config, *sources, root, progress=None):
    runtime = Runtime() if progress is None else Runtime(progress=progress)
    return freeze_eval_set(config, list(sources), root=root, runtime=runtime)


def rows(eval_set):
    with pa.ipc.open_file(pa.memory_map(str(eval_set.documents_path))) as reader:
        return reader.read_all().to_pylist()


CONFIG = EvalSetConfig(max_bytes=8_000, max_fraction=0.5)


def test_set_stays_within_its_size_and_bounds(tmp_path):
    config = EvalSetConfig(
        max_bytes=8_000, max_fraction=0.5, min_document_bytes=350, max_document_bytes=400
    )
    eval_set = freeze(config, corpus(tmp_path), root=tmp_path / "root")
    sizes = [len(row["text"].encode()) for row in rows(eval_set)]
    assert 7_000 < sum(sizes) <= 8_000
    assert all(350 <= size <= 400 for size in sizes)
    assert eval_set.facts["documents"] == len(sizes)
    assert eval_set.facts["bytes"] == sum(sizes)
    assert eval_set.facts["corpus_documents"] == 200


def test_choice_depends_on_ids_and_seed_only(tmp_path):
    first = freeze(CONFIG, corpus(tmp_path), root=tmp_path / "a")
    again = freeze(
        CONFIG.model_copy(update={"name": "other"}), corpus(tmp_path), root=tmp_path / "b"
    )
    seeded = freeze(CONFIG.model_copy(update={"seed": 1}), corpus(tmp_path), root=tmp_path / "c")
    assert again.fingerprint == first.fingerprint
    assert rows(again) == rows(first)
    assert seeded.fingerprint != first.fingerprint


def test_fingerprint_is_frozen(tmp_path):
    # Changes only with a new STAGE_VERSION in pipeline/stages/freeze_eval_set.py.
    assert freeze(CONFIG, corpus(tmp_path), root=tmp_path / "root").fingerprint == GOLDEN


def test_sources_share_in_proportion_to_their_bytes(tmp_path):
    large = corpus(tmp_path, "large", 300, "x")
    small = corpus(tmp_path, "small", 100, "y")
    config = CONFIG.model_copy(update={"max_bytes": 40_000})
    facts = freeze(config, large, small, root=tmp_path / "root").facts["per_source"]
    assert 2.5 < facts["large"]["bytes"] / facts["small"]["bytes"] < 3.6


def test_small_corpus_keeps_most_of_its_text(tmp_path):
    eval_set = freeze(EvalSetConfig(), corpus(tmp_path, count=50), root=tmp_path / "root")
    facts = eval_set.facts
    assert 0 < facts["bytes"] <= 0.1 * facts["corpus_bytes"]


def test_tiny_corpus_holds_out_one_document(tmp_path):
    eval_set = freeze(EvalSetConfig(), corpus(tmp_path, count=3), root=tmp_path / "root")
    assert len(rows(eval_set)) == 1


@pytest.mark.parametrize("settings", [{"min_document_bytes": 40_000}, {"max_document_bytes": 300}])
def test_no_document_in_bounds_is_a_data_error(tmp_path, settings):
    with pytest.raises(DataError, match="0 of 200 documents have"):
        freeze(EvalSetConfig(**settings), corpus(tmp_path), root=tmp_path / "root")


def test_single_document_cannot_be_held_out(tmp_path):
    with pytest.raises(DataError, match="at least one must remain to train on"):
        freeze(EvalSetConfig(), corpus(tmp_path, count=1), root=tmp_path / "root")


def test_existing_set_is_reused_by_name_whatever_the_config_says(tmp_path, recorder):
    root = tmp_path / "root"
    first = freeze(CONFIG, corpus(tmp_path), root=root)
    changed = CONFIG.model_copy(update={"max_bytes": 900, "seed": 5})
    second = freeze(changed, corpus(tmp_path, "new"), root=root, progress=recorder)
    assert second == first
    message = recorder.messages("warning")
    for told in (
        "'default' is frozen",
        "max_bytes=900, frozen 8000",
        "seed=5",
        "'new'",
        "eval_set.name",
    ):
        assert told in message


def test_unchanged_config_is_reused_without_a_warning(tmp_path, recorder):
    root = tmp_path / "root"
    first = freeze(CONFIG, corpus(tmp_path), root=root)
    assert freeze(CONFIG, corpus(tmp_path), root=root, progress=recorder) == first
    assert recorder.messages("warning") == ""
    assert ("reused", {"artifact": first.ref}) in recorder.events


def test_damaged_set_is_an_artifact_error(tmp_path):
    root = tmp_path / "root"
    eval_set = freeze(CONFIG, corpus(tmp_path), root=root)
    data = bytearray(eval_set.documents_path.read_bytes())
    data[len(data) // 2] ^= 1
    eval_set.documents_path.write_bytes(data)
    with pytest.raises(ArtifactError, match="is damaged"):
        freeze(CONFIG, corpus(tmp_path), root=root)


def test_manifest_verifies_and_names_its_parts_as_inputs(tmp_path):
    eval_set = freeze(CONFIG, corpus(tmp_path), root=tmp_path / "root")
    manifest = verify(eval_set.path)
    assert manifest.stage == "eval_set"
    assert [reference.split("@")[0] for reference in manifest.inputs] == ["read"]


def test_equal_texts_are_held_out_once(tmp_path):
    path = tmp_path / "same.jsonl"
    path.write_text("".join(json.dumps({"text": "same " * 80}) + "\n" for _ in range(100)))
    source = JsonlSource(name="same", paths=(str(path),))
    assert len(rows(freeze(CONFIG, source, root=tmp_path / "root"))) == 1


def test_text_is_lightly_normalised():
    assert light_text("a\r\nb\rc\n") == "a\nb\nc\n"
    assert light_text("e\u0301") == "\u00e9"
    assert light_text("ﬁ Ａ \u00a0") == "ﬁ Ａ \u00a0"  # NFC, not NFKC
    assert unicodedata.is_normalized("NFC", light_text("o\u0308\r"))


def test_run_that_may_not_build_says_so(tmp_path):
    with pytest.raises(NotBuilt, match="'default' is not frozen"):
        freeze_eval_set(CONFIG, [corpus(tmp_path)], root=tmp_path, runtime=Runtime(may_build=False))


def test_unusable_names_and_bounds_are_refused():
    with pytest.raises(ValidationError):
        EvalSetConfig(name="../up")
    with pytest.raises(ValidationError, match="min_document_bytes=9 exceeds max_document_bytes=5"):
        EvalSetConfig(min_document_bytes=9, max_document_bytes=5)


GOLDEN = "fc3581d53282de0a379a9b4631838a823bba98d38ca6cad30cf183e0b372268f"
