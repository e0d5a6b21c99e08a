"""What Prefect's pages show of a run: few artifacts with stable keys, so their history is a story.

Nothing here may cost the run anything: a server that does not answer is a warning, and progress is
reported by a background thread.
"""

import base64
import contextvars
import logging
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import FlowRun, State
from prefect.events import emit_event
from prefect.exceptions import MissingContextError, PrefectException
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger, get_run_logger
from prefect.runtime import deployment, flow_run

from flows import signals
from flows.display import Display
from flows.failure import RunFailed, notes_of, retry_command
from flows.nights import NightEnd
from flows.run import Run
from pipeline.artifacts import Checkpoint, CleanedCorpus, EvalReport, LabelSet, parents_of
from pipeline.reports.corpus_report import corpus_table, report_path
from pipeline.reports.curves import loss_curve_png
from pipeline.reports.report import RunFacts, report_markdown, write_report
from pipeline.reports.tables import evaluation_rows
from pipeline.reports.terminal import summary
from pipeline.stages.register import Registration

PROGRESS_SECONDS = 10.0
START_AFTER_SECONDS = 2.0  # a stage that is over at once needs no progress bar
HEADLINE = (
    "bits_per_byte", "open_book_exact_match", "response_loss", "best_validation_loss",
    "final_train_loss", "seconds",
)  # fmt: skip
MLFLOW_VIEW = "?workflowType=machine_learning"  # else MLflow opens its pages for chat applications
MODEL_RESOURCE = "gristmill.model"
SHOWN_NIGHTS = 100
API_ERRORS = (httpx.HTTPError, PrefectException, RuntimeError, OSError)


class LoggedDisplay(Display):
    """The display of a deployment's run: every line is a log line of Prefect's pages."""

    def line(self, text: str, *, style: str | None = None) -> None:
        """One line, with the task it was written in."""
        try:
            logger = get_run_logger()
        except MissingContextError:  # a thread of its own, or the end of the run
            super().line(text, style=style)
            return
        level = logging.WARNING if style in ("yellow", "red") else logging.INFO
        logger.log(level, "%s", text)


def run_tags() -> dict[str, str]:
    """Tags that lead from the MLflow run to the Prefect flow run."""
    tags = {
        "prefect.flow_run_id": flow_run.id,
        "prefect.flow_run_name": flow_run.name,
        "prefect.flow_run_url": flow_run.ui_url,
        "prefect.deployment": deployment.name,
    }
    return {name: str(value) for name, value in tags.items() if value}


def artifact_key_of(*parts: str) -> str:
    """What Prefect takes as an artifact's key: lowercase letters, digits and dashes."""
    return re.sub("[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def guarded(run: Run | None, action: Callable[[], Any]) -> Any:
    """Do one thing with Prefect's API; a failure is a warning on the terminal."""
    try:
        return action()
    except API_ERRORS as error:
        if run is not None:
            run.display.line(f"    warning: Prefect did not take it ({error})", style="yellow")
        return None


def funnel(run: Run, corpus: CleanedCorpus) -> None:
    """Documents and bytes kept and dropped by reason, as a table."""
    rows = [_readable(row) for row in corpus_table(corpus)]
    report = report_path(corpus, run.root)
    kept = f"{corpus.facts['documents_kept']:,} documents kept"
    about = f"{kept}. Thresholds, samples and duplicates: {report}"
    guarded(run, lambda: create_table_artifact(key="funnel", table=rows, description=about))
    guarded(run, lambda: warn(run, signals.corpus(run, corpus)))


def _readable(row: Mapping[str, Any]) -> dict[str, str]:
    """A row of the funnel as people read it: `59,093` bytes, `2.5 %`."""
    return {
        name.replace("_", " "): f"{value:.1%}".replace("%", " %")
        if name.startswith("share")
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
        for name, value in row.items()
    }


def loss_curve(run: Run, checkpoint: Checkpoint) -> None:
    """Training and validation loss, as a picture."""
    picture = base64.b64encode(loss_curve_png(checkpoint)).decode("ascii")
    facts = checkpoint.facts
    best = facts.get("best_validation_loss")
    text = f"best validation loss {best:.3f}" if isinstance(best, float) else ""
    guarded(
        run,
        lambda: create_markdown_artifact(
            key=artifact_key_of("loss", checkpoint.stage, str(checkpoint.facts.get("task", ""))),
            markdown=f"![loss of {checkpoint.stage}](data:image/png;base64,{picture})\n\n{text}",
            description=f"{text} ({checkpoint.ref})".strip(),
        ),
    )


def evaluation(run: Run, report: EvalReport) -> None:
    """Bits per byte, perplexity and exact match, as a table."""
    rows = evaluation_rows(report)
    run.evaluated[_scored(report)] = rows
    guarded(
        run,
        lambda: create_table_artifact(
            key=artifact_key_of("evaluation", _scored(report)),
            table=rows,
            description=f"{_figure(rows)} ({report.ref})".strip(),
        ),
    )


def _figure(rows: Sequence[Mapping[str, Any]]) -> str:
    """The first figure of a table of measures: `bits per byte 1.360`."""
    return f"{rows[0]['measure']} {rows[0]['value']}" if rows else ""


def _scored(report: EvalReport) -> str:
    labels = [one for one in parents_of(report) if isinstance(one, LabelSet)]
    if labels:
        return labels[0].name
    stages = {ref.partition("@")[0] for ref in report.manifest.inputs}
    return "tuned" if "finetune" in stages else "base"


def registration(run: Run, version: Registration) -> None:
    """The gate's verdict, what it was based on, and where the model is; also told as an event."""
    standing = ", ".join(version.aliases) or "no alias"
    number = "not registered yet" if version.version is None else f"version {version.version}"
    verdict = "Promoted" if version.promoted else "Not promoted"
    code = version.one_liner.replace("; ", "\n")
    text = (
        f"### {version.name}, {number}\n\n**{verdict}** ({standing}): {version.reason}\n\n"
        f"```python\n{code}\n```\n\n"
        + _judged_on(version)
        + _markdown_table(run.evaluated.get("base" if version.name.endswith("-base") else "tuned"))
    )
    key = artifact_key_of("registry", version.name)
    about = f"{verdict}: {version.reason}"
    guarded(run, lambda: create_markdown_artifact(key=key, markdown=text, description=about))
    guarded(run, lambda: emit_registered(version))
    guarded(run, lambda: signals.gate(run, version))


def _judged_on(version: Registration) -> str:
    """The figures of the gate, and how worn the eval set is."""
    if not version.eval_set:
        return ""
    rows = [{"gate": name, "": f"{value:+.4f}"} for name, value in version.figures.items()]
    judged = version.eval_set_uses
    many = f"{judged} candidates were" if judged != 1 else "One candidate was"
    uses = f"{many} judged on the eval set {version.eval_set}.\n\n"
    return f"{_markdown_table(rows)}\n\n{uses}" if rows else uses


def warn(run: Run, message: str | None) -> None:
    """An alert's message is a warning of the run too."""
    if message is not None:
        run.display.line(f"    warning: {message}", style="yellow")


def emit_registered(version: Registration) -> None:
    """The event `model.registered`, by which other deployments can be started."""
    resource = {
        "prefect.resource.id": f"{MODEL_RESOURCE}.{version.name}",
        "prefect.resource.name": version.name,
        "gristmill.promoted": "yes" if version.promoted else "no",
    }
    payload = {"version": version.version, "reason": version.reason, "uri": version.uri}
    emit_event("model.registered", resource=resource, payload=payload)


def _markdown_table(rows: list[dict[str, Any]] | None) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(str(row.get(name, "")) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def nights(run: Run, ends: Sequence[NightEnd]) -> None:
    """The story of the nights, newest first, as one table with a stable key."""
    if not run.orchestrated:
        return
    rows = [night_row(end) for end in reversed(ends[-SHOWN_NIGHTS:])]
    key = artifact_key_of("nights", run.config.registry.name)
    about = str(ends[-1].facts.get("verdict", "")) if ends else ""
    guarded(run, lambda: create_table_artifact(key=key, table=rows, description=about))


def removals(rows: Sequence[tuple[str, str, int, bool]]) -> None:
    """What housekeeping found: kind, path, bytes, whether it is gone."""
    table = [
        {"kind": kind, "path": path, "MB": round(size / 1e6, 3), "removed": "yes" if gone else "no"}
        for kind, path, size, gone in rows
    ]
    about = f"{len(rows)} things"
    guarded(
        None,
        lambda: create_table_artifact(key="housekeeping", table=table, description=about),
    )


def night_row(end: NightEnd) -> dict[str, Any]:
    """One night as people read it."""
    facts, bits = end.facts, end.facts.get("bits_per_byte")
    share = facts.get("replayed_share")
    return {
        "ended (UTC)": f"{end.ended:%Y-%m-%d %H:%M}",
        "new files": facts.get("new_files", 0),
        "new documents": facts.get("new_documents", 0),
        "trained tokens": f"{facts['tokens']:,}" if "tokens" in facts else "",
        "old text": f"{share:.0%}" if isinstance(share, float) else "",
        "bits per byte": f"{bits:.4f}" if isinstance(bits, float) else "",
        "verdict": facts.get("verdict", ""),
    }


def headline(facts: RunFacts) -> dict[str, float]:
    """The numbers by which whole runs are compared in MLflow's list."""
    found: dict[str, float] = {}
    for title, report, checkpoint in (
        ("base", facts.base_eval, facts.base),
        ("tuned", facts.tuned_eval, facts.tuned),
    ):
        for artifact in (report, checkpoint):
            for name in HEADLINE:
                value = artifact.facts.get(name) if artifact is not None else None
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found[f"{title}.{name}"] = float(value)
    return found


def finish(run: Run, facts: RunFacts) -> None:
    """Write the report, show its short form, and leave it with Prefect and MLflow."""
    paths = write_report(facts, root=run.root)
    run.display.render(summary(facts, paths))
    if run.tracking is not None:
        run.tracking.metrics(headline(facts))
    if run.tracking is not None:
        files = {path.name: path for path in (paths.markdown, paths.html, *paths.pictures)}
        run.tracking.attach(files, folder="report")
    if not run.orchestrated:
        return
    guarded(run, lambda: warn(run, signals.disk(run.root)))
    markdown = report_markdown(facts)
    guarded(
        run,
        lambda: create_markdown_artifact(
            key="report",
            markdown=markdown,
            description=f"From the documents to the verdict: run {run.run_id}",
        ),
    )
    url = run.tracking.run_url if run.tracking is not None else None
    if url:
        guarded(
            run,
            lambda: create_link_artifact(
                key="mlflow-run",
                link=f"{url}{MLFLOW_VIEW}",
                link_text="This run in MLflow",
                description="Curves, settings, files and models of this run, in MLflow",
            ),
        )


class PrefectProgress:
    """The Progress of one stage in Prefect's pages, kept current by a thread of its own.

    The stage only leaves its numbers here; a slow or dead server holds up the thread, never the
    stage. Made inside the task, whose context the thread borrows.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.key = artifact_key_of("progress", title)
        self._latest: tuple[float, float | None, str] | None = None
        self._complete = False
        self._thread: threading.Thread | None = None
        self._context = contextvars.copy_context()
        self._ended = threading.Event()
        self._begun = time.monotonic()

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """Remember how far the stage is; the thread starts once the stage proves long."""
        self._latest = (done, total, unit)
        if self._thread is None and total and time.monotonic() - self._begun > START_AFTER_SECONDS:
            self._thread = threading.Thread(
                target=self._context.run, args=(self._report,), name="prefect-progress", daemon=True
            )
            self._thread.start()

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """`built` and `reused` complete the bar; `ended` (also after an error) ends the thread."""
        if name in ("built", "reused"):
            self._complete = True
        elif name == "ended":
            self._ended.set()

    def _now(self) -> tuple[float, str]:
        done, total, unit = self._latest or (0.0, None, "")
        share = 100.0 if self._complete else 100.0 * done / total if total else 0.0
        of = f" of {total:,.0f}" if total else ""
        return min(100.0, max(0.0, share)), f"{self.title}: {done:,.0f}{of} {unit}"

    def _report(self) -> None:
        share, text = self._now()
        artifact = guarded(
            None, partial(create_progress_artifact, progress=share, key=self.key, description=text)
        )
        ended = artifact is None
        while not ended:
            ended = self._ended.wait(PROGRESS_SECONDS)
            share, text = self._now()
            guarded(None, partial(update_progress_artifact, artifact, share, description=text))


def failed(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Flow hook: one log line with the stage that failed and the command that goes on there."""
    if flow_run.deployment_id is None:
        return  # started by the command line, which says so itself
    error = state.data if isinstance(state.data, BaseException) else None
    notes = notes_of(error.__cause__ if isinstance(error, RunFailed) and error.__cause__ else error)
    where = "; ".join(notes) or (
        f"outside a stage; finished stages are kept, go on with: {retry_command(flow_run)}"
    )
    flow_run_logger(flow_run, flow).error("%s ended %s %s", flow_run.name, state.name, where)
