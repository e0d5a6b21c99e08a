"""What holds for result files and their rendering: nothing unclean is kept, losing is shown."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import demo, report
from benchmarks.results_file import (
    RESULTS,
    Claim,
    Measured,
    Result,
    Row,
    hardware,
    read_result,
    to_json,
    write_result,
)
from pipeline.reports.facts import RunFacts
from pipeline.store.errors import ConfigError, DataError
from tests.reports.world import losing, make_world

MEASURED = Measured("0123456789abcdef", "some machine, 2 cores, 8 GB", {"torch": "2.13.0"})
RESULT = Result(
    "speed", "2026-11-20", MEASURED,
    (
        Row("cleaning", "MB/s", (30.0, 10.0, 20.0), "higher", "peer a", (4.0, 5.0, 6.0)),
        Row("cleaning", "MB/s", (30.0, 10.0, 20.0), "higher", "peer b", (80.0,)),
        Row("loss", "bits/byte", (1.5,), "lower", "a | b", (1.2,), (1.4, 1.6)),
        Row("stage", "s", (2.0,), "lower", detail=True),
    ),
    (Claim("4x peer a", 4.0, 4.0, True), Claim("beats peer b", 80.0, 20.0, False)),
)  # fmt: skip


def test_a_result_comes_back_from_its_file(tmp_path):
    assert read_result(write_result(RESULT, tmp_path)) == RESULT


def test_the_file_has_the_documented_keys(tmp_path):
    content = json.loads(write_result(RESULT, tmp_path).read_text(encoding="utf-8"))
    assert set(content) == {
        "benchmark", "date", "commit", "hardware", "versions", "rows", "claims",
    }  # fmt: skip
    assert {"case", "unit", "ours", "peer", "theirs", "ratio"} <= set(content["rows"][0])
    assert content["claims"][1] == {
        "claim": "beats peer b", "target": 80.0, "value": 20.0, "met": False,
    }  # fmt: skip


def test_a_ratio_above_one_always_means_that_ours_is_better():
    faster, slower, worse, alone = RESULT.rows
    assert [row.ratio for row in RESULT.rows] == [4.0, 0.25, 1.2 / 1.5, None]
    assert [faster.loses, slower.loses, worse.loses, alone.loses] == [False, True, True, False]


def test_an_unclean_tree_writes_nothing(tmp_path):
    unclean = replace(RESULT, measured=replace(MEASURED, clean=False))
    with pytest.raises(ConfigError, match="0123456789ab"):
        write_result(unclean, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.pop("commit"),
        lambda content: content.update(extra=1),
        lambda content: content["rows"][0].pop("unit"),
        lambda content: content["rows"][0].update(better="sideways"),
        lambda content: content["rows"][0].update(ratio=99.0),
        lambda content: content["claims"][0].pop("met"),
    ],
)
def test_a_damaged_result_is_refused(tmp_path, damage):
    content = json.loads(json.dumps(to_json(RESULT)))
    damage(content)
    path = tmp_path / "speed.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"speed\.json"):
        read_result(path)


def test_losing_and_missed_claims_are_shown_as_such():
    text = report.render([RESULT], short=True)
    assert "peer b 80.0 **(we lose)**; peer a 5.000 |" in text
    assert "a \\| b 1.200 **(we lose)**" in text
    assert "- **MISSED**: beats peer b" in text and "- met: 4x peer a" in text
    assert "stage" not in text and "stage" in report.render([RESULT], short=False)


def test_report_reads_the_folder(tmp_path, capsys):
    write_result(RESULT, tmp_path)
    assert report.main(["--results", str(tmp_path)]) == 0
    assert "**speed**: 2026-11-20, commit `0123456789ab`" in capsys.readouterr().out
    assert report.main(["--results", str(tmp_path / "nothing")]) == 1


def test_every_committed_result_is_whole():
    for path in RESULTS.glob("*.json"):
        assert read_result(path).benchmark == path.name.split(".")[0]


def test_hardware_names_cores_and_memory():
    assert "core" in hardware() and hardware().endswith(" GB")


TITLES = (
    "eval_set", "clean", "tokenizer", "tokenize", "examples", "pretrain", "finetune", "baselines",
    "evaluate-base", "evaluate-tuned", "export-base", "export-tuned",
)  # fmt: skip


def write_run(root: Path, run_id: str, run: RunFacts, outcomes: dict[str, str], ends: int) -> None:
    """The journal of one run over the artifacts in `run`."""
    artifacts = (
        run.eval_set, run.corpus, run.tokenizer, run.shards, run.examples, run.base, run.tuned,
        run.baselines, run.base_eval, run.tuned_eval, run.base_hf, run.tuned_hf,
    )  # fmt: skip
    stages = [
        {"title": title, "stage": title, "outcome": outcomes.get(title, outcomes["*"]),
         "seconds": 150.0 if title == "pretrain" else 1.0, "ref": artifact.ref}
        for title, artifact in zip(TITLES, artifacts, strict=True)
        if artifact is not None
    ]  # fmt: skip
    for title in ("registry-base", "registry-tuned"):
        stages.append(
            {"title": title, "stage": "registry", "outcome": "done", "seconds": 1.0, "ref": ""}
        )
    directory = root / "journal" / run_id
    directory.mkdir(parents=True)
    (directory / "stages.json").write_text(json.dumps(stages), encoding="utf-8")
    lines = [{"t": 1_000, "event": "started"}, {"t": 1_000 + 1_000 * ends, "event": "finished"}]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (directory / "flow.jsonl").write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, RunFacts]:
    world = make_world(tmp_path_factory.mktemp("demo"), bits=0.5)
    write_run(world.root, "20261120-100000-aaaaaa", world.run, {"*": "built"}, 321)
    write_run(world.root, "20261120-110000-bbbbbb", world.run, {"*": "reused"}, 9)
    worse = losing(world)
    return world.root, worse


def measured(root: Path) -> Result:
    first, second = demo.runs_of(root)
    totals = demo.Totals(first.seconds(), second.seconds() if second else None, "journal")
    return demo.result_of(root, first, totals, MEASURED)


def test_demo_reads_times_text_and_answers_from_a_finished_root(finished, tmp_path):
    result = measured(finished[0])
    rows = {(row.case, row.peer): row for row in result.rows}
    assert rows["first run (journal)", None].ours == (321.0,)
    assert rows["second run (journal)", None].ours == (9.0,)
    pruned = rows["base model, all held-out documents", "ngram5_pruned"]
    assert not pruned.loses and pruned.interval is not None
    assert pruned.interval[0] <= pruned.ours[0] <= pruned.interval[1]
    assert rows["exact match of the tuned model, parameters (40 questions)", "baseline"].ours[0] > 0
    assert {row.case for row in result.rows} >= {f"stage {title}" for title in TITLES}
    assert all(claim.met for claim in result.claims) and len(result.claims) == 7
    assert read_result(write_result(result, tmp_path)) == result


def test_first_text_counts_what_precedes_the_loop(finished):
    first, _ = demo.runs_of(finished[0])
    pretrained = demo._artifacts(finished[0], first)["pretrain"]
    # 150 s of the stage, 144.2 s of them in the loop, the first sample at 10.2 s of the loop.
    assert demo.seconds_to_text(first, pretrained) == pytest.approx(5.8 + 10.2)


def test_demo_says_where_it_loses_and_what_took_too_long(finished, tmp_path):
    root, worse = finished
    for place in root.iterdir():
        if place.name != "journal":
            (tmp_path / place.name).symlink_to(place)
    write_run(tmp_path, "20261120-100000-aaaaaa", worse, {"*": "built"}, 400)
    result = measured(tmp_path)
    missed = {claim.claim for claim in result.claims if not claim.met}
    assert any("first run" in claim for claim in missed)
    assert any("5-gram of its size, all" in claim for claim in missed)
    lost = {row.peer for row in result.rows if row.loses and row.case.startswith("base model")}
    assert "ngram5_pruned" in lost and "xz_primed" in lost
    assert not any("second run" in claim.claim for claim in result.claims)


def test_a_run_that_was_continued_has_no_total_time(finished, tmp_path):
    world_run = finished[1]
    write_run(tmp_path, "20261120-100000-aaaaaa", world_run, {"*": "built", "clean": "reused"}, 5)
    with pytest.raises(DataError, match="fresh root"):
        demo.runs_of(tmp_path)


def test_demo_of_an_empty_folder_is_one_line(tmp_path, capsys):
    assert demo.main(["--from", str(tmp_path)]) == 3
    assert capsys.readouterr().err.count("\n") == 1
