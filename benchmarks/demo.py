"""The embedded default, measured: how long it takes, how good it gets, and what beats it.

    python -m benchmarks.demo              run it twice in a fresh root, write results/demo.json
    python -m benchmarks.demo --from ROOT  read a root in which it has already run twice
    python -m benchmarks.demo --quick      the tiny configuration, printed and never written

Total times are those of the whole command; with `--from` those between the first and the last line
of the run's journal, which leave out the start of Python and of the Prefect server.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.report import render
from benchmarks.results_file import (
    CHECKOUT,
    RESULTS,
    Claim,
    Measured,
    Result,
    Row,
    here,
    require_clean,
    today,
    write_result,
)
from pipeline.artifacts import Artifact, BaselineReport, Checkpoint, EvalReport, find_artifact
from pipeline.reports.comparing import (
    clean_documents,
    exact_match_difference,
    read_answers,
    subset_bits_per_byte,
)
from pipeline.reports.reading import read_lines
from pipeline.store.errors import DataError, MillError
from pipeline.store.files import read_json
from pipeline.store.provenance import machine

CORES = 2
FIRST_RUN_SECONDS, SECOND_RUN_SECONDS, FIRST_TEXT_SECONDS = 360.0, 15.0, 60.0


@dataclass(frozen=True)
class Run:
    """One run as its journal tells it."""

    directory: Path
    stages: list[dict[str, Any]]
    """`{stage, title, outcome, seconds, ref}` in order."""

    def outcomes(self) -> set[str]:
        """What happened to the stages that leave an artifact: "built", "reused"."""
        return {stage["outcome"] for stage in self.stages} - {"done"}

    def seconds(self) -> float:
        """From the first to the last line of the run's own journal."""
        events = {
            line.get("event"): line["t"] for line in read_lines(self.directory / "flow.jsonl")
        }
        return float(events["finished"] - events["started"]) / 1000


@dataclass(frozen=True)
class Totals:
    """Seconds of the first and the second run, and what the clock saw."""

    first: float
    second: float | None
    clock: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and unless told otherwise write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.demo", description=__doc__)
    parser.add_argument("--from", dest="root", type=Path, help="a root in which it has run twice")
    parser.add_argument("--quick", action="store_true", help="tiny configuration, not written")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    given = parser.parse_args(arguments)
    try:
        result = _measure(given.root, quick=given.quick, write=not given.no_write)
        print(render([result], short=False))
        if not (given.quick or given.no_write):
            print(f"written: {write_result(result, given.out)}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _measure(root: Path | None, *, quick: bool, write: bool) -> Result:
    if root is not None:
        first, second = runs_of(root)
        totals = Totals(
            first.seconds(), second.seconds() if second else None, "journal, start-up not counted"
        )
        return result_of(root, first, totals, measured_of(root, first))
    measured = here(("torch", "prefect", "mlflow", "transformers"))
    if write and not quick:
        require_clean(measured)  # before the minutes, not after
    # Children inherit it: the same two cores here as on the machine the promise is about.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    measured = replace(measured, hardware=here().hardware)
    with tempfile.TemporaryDirectory(prefix="gristmill-demo-") as scratch:
        fresh = Path(scratch) / "runs"
        config = CHECKOUT / "flows" / "configs" / ("tiny.yaml" if quick else "pydocs.yaml")
        totals = Totals(_mill(config, fresh), _mill(config, fresh), "whole command")
        return result_of(fresh, runs_of(fresh)[0], totals, measured)


def _mill(config: Path, root: Path) -> float:
    """Seconds of `mill run`; its output goes to ours."""
    code = "import sys; from flows.cli import main; main(sys.argv[1:])"
    paths = [str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]  # also uninstalled
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "run", str(config), f"root={root}"],
        stdout=sys.stderr, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    if done.returncode:
        raise DataError(f"mill run {config.name} ended with exit code {done.returncode}")
    return time.perf_counter() - started


def runs_of(root: Path) -> tuple[Run, Run | None]:
    """The newest run that built everything, and the newest later one that built nothing."""
    found = [Run(p.parent, read_json(p)) for p in sorted(root.glob("journal/*/stages.json"))]
    runs = [run for run in found if "registry-tuned" in {s["title"] for s in run.stages}]
    first = next((run for run in reversed(runs) if run.outcomes() == {"built"}), None)
    if first is None:
        raise DataError(
            f"no run under {root} went from the first stage to the last in one go "
            f"({len(runs)} finished runs found), so its time is unknown; run it in a fresh root"
        )
    later = [run for run in runs if run.directory.name > first.directory.name]
    same = [run for run in later if run.outcomes() == {"reused"}]
    return first, same[-1] if same else None


def measured_of(root: Path, run: Run) -> Measured:
    """Code and machine from the manifests; not clean unless all name one unchanged commit."""
    records = [a.manifest.provenance for a in _artifacts(root, run).values()]
    commits = {str(record["git_commit"]) for record in records}
    hosts = {record["host"] for record in records}
    clean = len(commits) == 1 and not any(record["git_dirty"] for record in records)
    now = here()
    versions = {"gristmill": now.versions["gristmill"], "python": records[-1]["python"]}
    versions |= {k: v for k, v in records[-1]["versions"].items() if v}
    known = hosts == {machine()["host"]}
    hardware = now.hardware if known else f"another machine ({', '.join(sorted(hosts))})"
    return Measured(", ".join(sorted(commits)), hardware, versions, clean)


def _artifacts(root: Path, run: Run) -> dict[str, Artifact]:
    return {
        stage["title"]: find_artifact(root, stage["ref"])
        for stage in run.stages
        if stage["outcome"] != "done"
    }


def result_of(root: Path, run: Run, totals: Totals, measured: Measured) -> Result:
    """Rows and claims from the artifacts and the journal of `run`."""
    found = _artifacts(root, run)
    base, tuned = found["evaluate-base"], found["evaluate-tuned"]
    baselines, pretrained = found["baselines"], found["pretrain"]
    assert isinstance(base, EvalReport) and isinstance(tuned, EvalReport)
    assert isinstance(baselines, BaselineReport) and isinstance(pretrained, Checkpoint)
    text_rows, text_claims = _text(base, tuned, baselines)
    answer_rows, answer_claims = _answers(base, tuned)
    time_rows, time_claims = _times(run, totals, pretrained)
    return Result(
        "demo", today(), measured,
        (*text_rows, *answer_rows, *time_rows), (*time_claims, *text_claims, *answer_claims),
    )  # fmt: skip


def _text(
    base: EvalReport, tuned: EvalReport, baselines: BaselineReport
) -> tuple[list[Row], list[Claim]]:
    """Bits per byte of both models beside everything else that read the same text."""
    rows, claims = [], []
    content = read_json(baselines.path / "baselines.json")
    for where, documents, key in (
        ("all held-out documents", None, "bits_per_byte"),
        ("clean held-out documents", clean_documents(baselines), "bits_per_byte_clean"),
    ):
        models = {}
        for name, report in (("base", base), ("tuned", tuned)):
            models[name] = subset_bits_per_byte(report, documents)
        ours, other = models["base"], models["tuned"]
        if ours is None or other is None:
            continue
        case = f"base model, {where}"
        for peer in content["rows"]:
            if peer[key] is not None:
                rows.append(
                    Row(case, "bits/byte", (ours.value,), "lower", peer["name"], (peer[key],),
                        (ours.low, ours.high))
                )  # fmt: skip
            if peer["name"] == "ngram5_pruned" and peer[key] is not None:
                claim = f"base model needs fewer bits per byte than the 5-gram of its size, {where}"
                claims.append(Claim(claim, peer[key], ours.value, ours.value < peer[key]))
        rows.append(
            Row(f"tuned model, {where}", "bits/byte", (other.value,), "lower", "base model",
                (ours.value,), (other.low, other.high), detail=True)
        )  # fmt: skip
    return rows, claims


def _answers(base: EvalReport, tuned: EvalReport) -> tuple[list[Row], list[Claim]]:
    """Exact match on held-out questions, per kind and over all open-book ones."""
    ours, theirs = (read_json(r.path / "report.json")["sft"] for r in (tuned, base))
    measures = {kind: ours["exact_match"][kind] for kind in sorted(ours["exact_match"])}
    others = dict(theirs["exact_match"])
    measures["all open book"], others["all open book"] = ours["open_book"], theirs["open_book"]
    rows = []
    for kind, figures in measures.items():
        case = f"exact match of the tuned model, {kind} ({figures['total']} questions)"
        interval = (100 * figures["low"], 100 * figures["high"])
        for peer, rate in (("baseline", figures["baseline"]), ("base model", others[kind]["rate"])):
            rows.append(
                Row(case, "%", (100 * figures["rate"],), "higher", peer, (100 * rate,), interval)
            )
    claims = []
    answers, asked = read_answers(tuned), read_answers(base)
    for against, other, name in (
        ("correct", asked, "base model"), ("baseline_correct", answers, "baseline"),
    ):  # fmt: skip
        gain = exact_match_difference(answers, other, open_book=True, against=against)
        if gain is not None:
            claim = (
                f"open-book exact match, tuned model minus {name} in points: lower end of the "
                f"95 % interval above 0 (difference {100 * gain.value:+.1f})"
            )
            claims.append(Claim(claim, 0.0, 100 * gain.low, gain.low > 0))
    return rows, claims


def _times(run: Run, totals: Totals, pretrained: Checkpoint) -> tuple[list[Row], list[Claim]]:
    """Seconds per stage and in all, until the first text, and the speed of training."""
    on = f"on {(cores := len(os.sched_getaffinity(0)))} core{'s' if cores > 1 else ''}"
    rows = [Row(f"first run ({totals.clock})", "s", (totals.first,), "lower")]
    claims = [_within(f"first run {on} ({totals.clock})", FIRST_RUN_SECONDS, totals.first)]
    if totals.second is not None:
        rows.append(Row(f"second run ({totals.clock})", "s", (totals.second,), "lower"))
        claims.append(
            _within(f"second run {on} ({totals.clock})", SECOND_RUN_SECONDS, totals.second)
        )
    first_text = seconds_to_text(run, pretrained)
    if first_text is not None:
        rows.append(Row("start of pretraining to first text of the trained model", "s",
                        (first_text,), "lower"))  # fmt: skip
        claims.append(_within("first generated text", FIRST_TEXT_SECONDS, first_text))
    speed = float(pretrained.facts["tokens_per_second"])
    rows.append(Row("pretraining", "tokens/s", (speed,), "higher"))
    rows += [
        Row(f"stage {stage['title']}", "s", (stage["seconds"],), "lower", detail=True)
        for stage in run.stages
    ]
    return rows, claims


def seconds_to_text(run: Run, pretrained: Checkpoint) -> float | None:
    """From the start of the stage to the first sample after a training step; None without one.

    Samples carry the loop's own clock: all the stage's time outside the loop is put before it.
    """
    samples = read_lines(pretrained.path / "samples.jsonl")
    moments = [sample["seconds"] for sample in samples if sample["step"] > 0]
    if not moments:
        return None
    stage = next(stage for stage in run.stages if stage["title"] == "pretrain")
    outside = max(0.0, stage["seconds"] - float(pretrained.facts["seconds"]))
    return outside + float(min(moments))


def _within(claim: str, target: float, seconds: float) -> Claim:
    return Claim(f"{claim} within {target:.0f} s", target, seconds, seconds < target)


if __name__ == "__main__":
    sys.exit(main())
