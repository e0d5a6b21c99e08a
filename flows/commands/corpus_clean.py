"""`mill corpus clean`: a settings file that ends with `clean` becomes a corpus and its report.

    eval_set, clean -> EvalSet, CleanedCorpus -> reports/corpus-<fingerprint>/report.html

No Prefect and no MLflow; the artifacts are those of a whole run, which takes them up.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from rich.table import Table
from rich.text import Text

from flows.display import Display, StageDisplay, clock
from flows.root import prepare_root
from pipeline.artifacts import Artifact, CleanedCorpus
from pipeline.config import CorpusConfig, load_corpus
from pipeline.reports.blocks import visible
from pipeline.reports.corpus_report import corpus_table, report_path, write_corpus_report
from pipeline.reports.numbers import count, percent, size
from pipeline.stages.clean_corpus import clean_corpus
from pipeline.stages.freeze_eval_set import freeze_eval_set
from pipeline.store.runtime import Runtime, Silent

Made = TypeVar("Made", bound=Artifact)


def clean_of_settings(path: Path, overrides: Sequence[str]) -> None:
    """Freeze the eval set, clean, print the funnel and where the report lies."""
    config = load_corpus(path, overrides)
    root = prepare_root(Path(config.root))
    display = Display()
    display.line(f"gristmill: {path} -> {root}", style="bold")
    eval_set = _stage(
        config, display, "eval_set",
        lambda runtime: freeze_eval_set(
            config.eval_set, config.clean.sources, root=root, runtime=runtime
        ),
    )  # fmt: skip
    corpus = _stage(
        config, display, "clean",
        lambda runtime: clean_corpus(config.clean, eval_set, root=root, runtime=runtime),
    )  # fmt: skip
    report = report_path(corpus, root)
    if not report.is_file():
        write_corpus_report(corpus, root)
    display.render(_funnel(corpus))
    display.line(f"report {report}")


def _stage(
    config: CorpusConfig, display: Display, title: str, work: Callable[[Runtime], Made]
) -> Made:
    progress = StageDisplay(display, title)
    runtime = config.runtime.build(
        device="cpu", journal=Silent(), progress=progress, may_build=True
    )
    made = work(runtime)
    mark = "=" if progress.outcome == "reused" else "+"
    seconds = clock(time.monotonic() - progress.started)
    display.line(f"{mark} {title:<14} {progress.outcome:<7} {seconds:>8}  {made.ref}")
    return made


def _funnel(corpus: CleanedCorpus) -> Table:
    """Documents and text by what became of them."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "documents", "share", "text", "share"):
        table.add_column(name, justify="right" if name else "left", no_wrap=bool(name))
    for row in corpus_table(corpus):
        table.add_row(
            Text(visible(str(row["step"]))), count(row["documents"]), percent(row["share"]),
            size(row["bytes"]).replace("-", "\N{MINUS SIGN}"), percent(row["share_of_bytes"]),
            style="bold" if row["step"] in ("read", "kept") else "",
        )  # fmt: skip
    return table
