"""What Prefect's pages show of a run: few artifacts with stable keys, so their history is a story.

Nothing here may cost the run anything: a server that does not answer is a warning, and progress is
reported by a background thread.
"""

import base64
import contextvars
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException
from prefect.runtime import deployment, flow_run

from flows.run import Run
from pipeline.artifacts import Checkpoint, CleanedCorpus, EvalReport
from pipeline.reports.curves import loss_curve_png
from pipeline.reports.report import RunFacts, report_markdown, write_report
from pipeline.reports.tables import evaluation_rows, funnel_rows
from pipeline.reports.terminal import summary
from pipeline.stages.register import Registration

PROGRESS_SECONDS = 10.0
API_ERRORS = (httpx.HTTPError, PrefectException, RuntimeError, OSError)


def run_tags() -> dict[str, str]:
    """Tags that lead from the MLflow run to the Prefect flow run."""
    tags = {
        "prefect.flow_run_id": flow_run.id,
        "prefect.flow_run_name": flow_run.name,
        "prefect.flow_run_url": flow_run.ui_url,
        "prefect.deployment": deployment.name,
    }
    return {name: str(value) for name, value in tags.items() if value}


def guarded(run: Run | None, action: Callable[[], Any]) -> Any:
    """Do one thing with Prefect's API; a failure is a warning on the terminal."""
    try:
        return action()
    except API_ERRORS as error:
        if run is not None:
            run.display.line(f"    warning: Prefect did not take it ({error})", style="yellow")
        return None


def funnel(run: Run, corpus: CleanedCorpus) -> None:
    """Documents kept and dropped by reason, as a table."""
    rows = funnel_rows(corpus)
    guarded(
        run,
        lambda: create_table_artifact(key="funnel", table=rows, description="Documents by fate"),
    )


def loss_curve(run: Run, checkpoint: Checkpoint) -> None:
    """Training and validation loss, as a picture."""
    picture = base64.b64encode(loss_curve_png(checkpoint)).decode("ascii")
    facts = checkpoint.facts
    best = facts.get("best_validation_loss")
    text = f"best validation loss {best:.3f}" if isinstance(best, float) else ""
    guarded(
        run,
        lambda: create_markdown_artifact(
            key=f"loss-{checkpoint.stage}",
            markdown=f"![loss of {checkpoint.stage}](data:image/png;base64,{picture})\n\n{text}",
            description=f"{checkpoint.ref} {text}",
        ),
    )


def evaluation(run: Run, report: EvalReport) -> None:
    """Bits per byte, perplexity and exact match, as a table."""
    rows = evaluation_rows(report)
    guarded(
        run,
        lambda: create_table_artifact(
            key=f"evaluation-{report.facts.get('checkpoint_stage', 'model')}",
            table=rows,
            description=report.ref,
        ),
    )


def registration(run: Run, version: Registration) -> None:
    """The gate's verdict and where the model is."""
    text = f"**{version.name}** version {version.version}: {version.reason}\n\n```python\n{version.one_liner}\n```"
    key = "registry-" + "".join(c if c.isalnum() else "-" for c in version.name.lower()).strip("-")
    guarded(run, lambda: create_markdown_artifact(key=key, markdown=text, description=version.reason))


def finish(run: Run, facts: RunFacts) -> None:
    """Write the report, show its short form, and leave it with Prefect and MLflow."""
    paths = write_report(facts, root=run.root)
    run.display.render(summary(facts, paths))
    if run.tracking is not None:
        files = {path.name: path for path in (paths.markdown, paths.html, *paths.pictures)}
        run.tracking.attach(files, folder="report")
    if not run.orchestrated:
        return
    markdown = report_markdown(facts)
    guarded(
        run,
        lambda: create_markdown_artifact(key="report", markdown=markdown, description=run.run_id),
    )
    url = run.tracking.run_url if run.tracking is not None else None
    if url:
        guarded(
            run, lambda: create_link_artifact(key="mlflow-run", link=url, link_text="MLflow run")
        )


class PrefectProgress:
    """The Progress of one stage in Prefect's pages, kept current by a thread of its own."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._share: float | None = None
        self._text = ""
        self._thread: threading.Thread | None = None
        self._context = contextvars.copy_context()
        self._done = threading.Event()
        self._begun = time.monotonic()

    def advance(self, done: float, total: float | None, unit: str) -> None:
        """Remember how far the stage is; the thread starts with the first long stage."""
        self._share = 100.0 * done / total if total else None
        self._text = f"{self.title}: {done:,.0f} {unit}"
        if self._thread is None and self._share is not None and time.monotonic() - self._begun > 2:
            self._context = contextvars.copy_context()
            self._thread = threading.Thread(target=self._report, name="prefect-progress", daemon=True)
            self._thread.start()

    def event(self, name: str, facts: Mapping[str, Any]) -> None:
        """The stage's last event ends the thread."""
        if name in ("built", "reused"):
            self._share = 100.0
            self._done.set()

    def _report(self) -> None:
        key = "progress-" + self.title.replace("_", "-")
        artifact = guarded(
            None,
            lambda: self._context.run(
                create_progress_artifact, progress=self._share or 0.0, key=key, description=self._text
            ),
        )
        while artifact is not None:
            ended = self._done.wait(PROGRESS_SECONDS)
            share = min(100.0, self._share or 0.0)
            guarded(
                None,
                lambda: self._context.run(
                    update_progress_artifact, artifact_id=artifact, progress=share, description=self._text
                ),
            )
            if ended:
                return
