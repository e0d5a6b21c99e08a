import json
from dataclasses import replace

import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipeline.artifacts import Checkpoint, EvalSet
from pipeline.stages.measure_baselines import ALL_ROWS, BaselinesConfig, measure_baselines
from pipeline.store.errors import DataError
from pipeline.store.runtime import Runtime
from tests.reports.world import make, make_world, write_table

CONFIG = BaselinesConfig(ppmd_memory_bytes=1 << 24)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("baselines"))


def measure(world, config=CONFIG, *, runtime=None, **changed):
    run = replace(world.run, **changed)
    return measure_baselines(
        config, run.corpus, run.tokenizer, run.shards, run.eval_set, run.base,
        root=world.root, runtime=runtime or Runtime(),
    )  # fmt: skip


def content(report):
    return json.loads((report.path / "baselines.json").read_text("utf-8"))


def checkpoint_of(world, parameter_bytes):
    facts = {"parameter_bytes": parameter_bytes}
    return make(world.root, Checkpoint, "pretrain", "pretrain", facts)


def parts(world):
    return {
        path.name: path.stat().st_mtime_ns for path in (world.root / "parts/baselines").iterdir()
    }


def test_every_baseline_has_a_row_and_uniform_is_the_worst(world):
    report = content(world.run.baselines)
    rows = {row["name"]: row for row in report["rows"]}
    assert tuple(rows) == ALL_ROWS
    assert max(rows.values(), key=lambda row: row["bits_per_byte"])["name"] == "uniform"
    assert rows["xz_primed"]["bits_per_byte"] < rows["xz"]["bits_per_byte"]
    assert all(row["bits_per_byte_clean"] > 0 and row["note"] for row in rows.values())


def test_the_copied_document_is_not_clean(world):
    report = content(world.run.baselines)
    overlap = {row["doc_id"]: row["overlap"] for row in report["documents"]}
    assert overlap["python/held_copy"] > 0.5
    assert report["documents_clean"] == 5 and report["documents_held_out"] == 6


def test_copies_flatter_the_figure_on_all_documents(world):
    rows = {row["name"]: row for row in content(world.run.baselines)["rows"]}
    for name in ("xz_primed", "ppmd16_primed", "ngram5"):
        assert rows[name]["bits_per_byte"] < rows[name]["bits_per_byte_clean"]


def test_validation_documents_are_no_training_text(world):
    report = content(world.run.baselines)
    assert report["training_documents"] == len(world.training) - 2
    assert report["training_tokens"] == world.run.shards.num_tokens


def test_the_pruned_model_is_no_larger_than_the_model(world):
    small = checkpoint_of(world, 3_000)
    rows = {row["name"]: row for row in content(measure(world, base=small))["rows"]}
    assert rows["ngram5_pruned"]["bytes"] <= 3_000 < rows["ngram5"]["bytes"]
    assert rows["ngram5_pruned"]["bits_per_byte"] > rows["ngram5"]["bits_per_byte"]


def test_another_model_size_measures_only_the_pruned_model_again(world):
    before = parts(world)
    measure(world, base=checkpoint_of(world, 5_000))
    after = parts(world)
    assert len(after) == len(before) + 1
    assert all(after[name] == when for name, when in before.items())


def test_another_model_of_the_same_size_measures_nothing(world):
    same = make(
        world.root, Checkpoint, "pretrain", "pretrain", {"parameter_bytes": 48_000, "other": 1}
    )
    assert measure(world, base=same).fingerprint == world.run.baselines.fingerprint


def test_workers_change_nothing(world, tmp_path):
    other = make_world(tmp_path)
    again = measure(other, replace_rows("xz", "ngram5", "uniform"), runtime=Runtime(workers=2))
    ours = {row["name"]: row["bits_per_byte"] for row in content(world.run.baselines)["rows"]}
    for row in content(again)["rows"]:
        assert row["bits_per_byte"] == ours[row["name"]]


def replace_rows(*rows):
    return CONFIG.model_copy(update={"rows": rows})


def test_documents_hold_nats_that_add_up(world):
    with pa.memory_map(str(world.run.baselines.path / "documents.arrow")) as file:
        table = pa.ipc.open_file(file).read_all().to_pydict()
    rows = {row["name"]: row for row in content(world.run.baselines)["rows"]}
    for name in ("ngram5", "ngram5_pruned", "ppmd8_primed", "uniform"):
        bits = sum(table[f"nats_{name}"]) / 0.6931471805599453 / sum(table["bytes"])
        assert bits == pytest.approx(rows[name]["bits_per_byte"])


def test_nothing_is_left_beside_the_results(world):
    names = {path.name for path in world.run.baselines.path.iterdir()}
    assert names == {"baselines.json", "documents.arrow", "manifest.json"}


def test_a_limit_on_the_text_is_said_in_the_note(world):
    config = BaselinesConfig(
        rows=("ppmd8_primed",), compressor_bytes=8_000, ppmd_memory_bytes=1 << 24
    )
    assert "1/3 of the training text" in content(measure(world, config))["rows"][0]["note"]


def test_an_empty_eval_set_is_refused(world):
    empty = pa.table({"doc_id": [], "text": [], "source": []}).cast(
        pa.schema([("doc_id", pa.string()), ("text", pa.string()), ("source", pa.string())])
    )
    eval_set = make(
        world.root, EvalSet, "eval-sets", "eval_set", {"documents": 0},
        lambda d: write_table(d / "documents.arrow", empty), name="empty",
    )  # fmt: skip
    with pytest.raises(DataError, match="holds no document"):
        measure(world, eval_set=eval_set)


def test_unknown_and_repeated_rows_are_refused():
    with pytest.raises(ValidationError, match="rows"):
        BaselinesConfig(rows=("zip",))
    with pytest.raises(ValidationError, match="named twice"):
        BaselinesConfig(rows=("xz", "xz"))
