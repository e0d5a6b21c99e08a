"""What a report is made of: the handles of one run's artifacts, and where the report went.

Every handle may be missing: a run of the corpus flow, or one that stopped at a stage, is reported
with what there is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline.artifacts import (
    Artifact,
    BaselineReport,
    Checkpoint,
    CleanedCorpus,
    EvalReport,
    EvalSet,
    ExampleSet,
    ExportedModel,
    TokenShards,
    TrainedTokenizer,
)


@dataclass(frozen=True)
class RunFacts:
    """One run, as far as it got."""

    run_id: str
    name: str = "language-model"
    eval_set: EvalSet | None = None
    corpus: CleanedCorpus | None = None
    tokenizer: TrainedTokenizer | None = None
    shards: TokenShards | None = None
    examples: ExampleSet | None = None
    base: Checkpoint | None = None
    tuned: Checkpoint | None = None
    baselines: BaselineReport | None = None
    base_eval: EvalReport | None = None
    tuned_eval: EvalReport | None = None
    masked_eval: EvalReport | None = None
    """What an encoder's hidden tokens or an encoder-decoder's targets were measured with."""
    class_evals: Sequence[EvalReport] = ()
    """What each classifier was measured with."""
    base_hf: ExportedModel | None = None
    tuned_hf: ExportedModel | None = None
    registrations: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """`name, version, aliases, uri, one_liner` and optionally `reason`, per registered model."""
    stages: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """`stage, title, outcome ("built", "reused", "done"), seconds, ref`, in order."""
    predictions: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """`stage, title, seconds` as the plan foretold them."""

    def artifacts(self) -> Iterator[tuple[str, Artifact]]:
        """The artifacts there are, with the name they have here."""
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, Artifact):
                yield item.name, value


@dataclass(frozen=True)
class ReportPaths:
    """The files of one report."""

    directory: Path
    markdown: Path
    html: Path
    pictures: tuple[Path, ...]
