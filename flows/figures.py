"""The pictures and pages that go with a stage's MLflow run."""

from pathlib import Path

from pipeline.artifacts import Artifact, Checkpoint, CleanedCorpus


def figures_of(artifact: Artifact, root: Path) -> dict[str, bytes]:
    """Files by name; empty for stages that have nothing to look at.

    The report of a cleaned corpus is also written under `root`, where a person looks for it.
    """
    # matplotlib costs a second, which a run that reuses everything need not pay.
    from pipeline.reports.corpus_report import write_corpus_report
    from pipeline.reports.curves import funnel_png, loss_curve_png
    from pipeline.reports.tables import funnel_rows

    if isinstance(artifact, Checkpoint):
        return {"loss.png": loss_curve_png(artifact)}
    if isinstance(artifact, CleanedCorpus):
        page = write_corpus_report(artifact, root)
        return {"funnel.png": funnel_png(funnel_rows(artifact)), "corpus.html": page.read_bytes()}
    return {}
