"""The pictures that go with a stage's MLflow run."""

from pipeline.artifacts import Artifact, Checkpoint, CleanedCorpus


def figures_of(artifact: Artifact) -> dict[str, bytes]:
    """PNG files by name; empty for stages that have nothing to look at."""
    # matplotlib costs a second, which a run that reuses everything need not pay.
    from pipeline.reports.curves import funnel_png, loss_curve_png
    from pipeline.reports.tables import funnel_rows

    if isinstance(artifact, Checkpoint):
        return {"loss.png": loss_curve_png(artifact)}
    if isinstance(artifact, CleanedCorpus):
        return {"funnel.png": funnel_png(funnel_rows(artifact))}
    return {}
