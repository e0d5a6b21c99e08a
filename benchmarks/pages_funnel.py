"""From raw web pages to kept text: what each step takes, as figures and as a picture.

    python -m benchmarks.pages_funnel --data FOLDER_OF_HTML [--picture OUT.png] [--no-write]

The pages are packed into a web archive, read back from it, their main text extracted, and cleaned
as a crawl would be: each language by its rules, personal data replaced, duplicates removed. The
picture needs Chromium. Neither pages nor archive are ever committed.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cleaning_worlds import WEB_RULES, frozen_nothing, packed, runtime_of
from benchmarks.pages import pages_of
from benchmarks.report import render
from benchmarks.results_file import (
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
from pipeline.artifacts import CleanedCorpus
from pipeline.corpus.sources import WarcSource
from pipeline.reports.corpus_facts import CorpusFacts
from pipeline.reports.corpus_figures import FunnelStep, funnel_svg
from pipeline.reports.corpus_report import write_corpus_report
from pipeline.reports.corpus_sections import funnel_steps
from pipeline.reports.html_template import STYLE
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.errors import ConfigError, MillError

EXPECTED = (0.01, 0.05)
"""Share of a crawl's bytes that the source texts speak of (1 to 3 %), with some room."""
WIDTH = 1010


@dataclass(frozen=True)
class Pages:
    """What went in."""

    count: int
    bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Clean, print, and unless told otherwise write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages_funnel", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder of web pages (.html)")
    parser.add_argument("--root", type=Path, help="work here, and keep the corpus and its report")
    parser.add_argument("--picture", type=Path, help="where to draw the funnel (PNG)")
    parser.add_argument("--quick", action="store_true", help="the same, never written")
    parser.add_argument("--no-write", action="store_true", help="print only")
    given = parser.parse_args(arguments)
    try:
        measured = here(("trafilatura",))
        writes = not (given.quick or given.no_write)
        if writes:
            require_clean(measured)
        with tempfile.TemporaryDirectory(prefix="gristmill-pages-") as scratch:
            root = given.root or Path(scratch)
            pages = _counted(given.data)
            corpus = clean_pages(given.data, root)
            steps = page_steps(corpus, pages)
            print(f"report: {write_corpus_report(corpus, root)}")
            if given.picture is not None:
                draw(steps, given.picture)
            result = result_of(steps, measured)
        print(render([result], short=False))
        if writes:
            print(f"written: {write_result(result, RESULTS)}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _counted(data: Path) -> Pages:
    sizes = [len(page.data) for page in pages_of(data)]
    return Pages(len(sizes), sum(sizes))


def clean_pages(data: Path, root: Path) -> CleanedCorpus:
    """The corpus that cleaning leaves of the pages."""
    source = WarcSource(
        name="pages", paths=(str(packed(data, root / "texts")),), max_bad_fraction=0.9
    )
    config = CleanConfig.model_validate(
        {"sources": (source,), "steps": WEB_RULES, "bias_groups": "shipped:groups"}
    )
    nothing = frozen_nothing(root)
    return clean_corpus(config, nothing, root=root, runtime=runtime_of())


def page_steps(corpus: CleanedCorpus, pages: Pages) -> list[FunnelStep]:
    """The funnel of the corpus, begun at the pages themselves."""
    steps = funnel_steps(CorpusFacts(corpus), by_rule=False)
    read = steps[0]
    without = pages.count - read.documents
    markup = FunnelStep("markup, scripts, menus; no text", without, pages.bytes - (read.bytes or 0))
    return [FunnelStep("web pages", pages.count, pages.bytes, "read"), markup, *steps[1:]]


def result_of(steps: Sequence[FunnelStep], measured: Measured) -> Result:
    """A row per step, and whether the whole is what the source texts say of a crawl."""
    whole, kept = steps[0], steps[-1]
    rows = []
    for step in steps:
        name = step.label if step.kind != "loss" else f"lost to: {step.label}"
        rows.append(Row(f"{name}, documents", "documents", (float(step.documents),), "higher"))
        rows.append(Row(f"{name}, text", "MB", ((step.bytes or 0) / 1e6,), "higher"))
    share = (kept.bytes or 0) / max(whole.bytes or 0, 1)
    claims = (
        Claim("share of the pages' bytes that is kept lies between 1 and 5 %", EXPECTED[1], share,
              EXPECTED[0] <= share <= EXPECTED[1]),
    )  # fmt: skip
    return Result("pages_funnel", today(), measured, tuple(rows), claims)


def draw(steps: Sequence[FunnelStep], picture: Path) -> None:
    """The funnel as a PNG, twice as many pixels as points; ConfigError without Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise ConfigError("--picture needs Chromium; install it, or leave --picture away")
    height = 60 + 36 * len(steps)
    page = f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><body>{funnel_svg(steps)}"
    with tempfile.TemporaryDirectory(prefix="gristmill-picture-") as folder:
        (Path(folder) / "funnel.html").write_text(
            page.replace("<body>", '<body style="padding:16px 24px">'), encoding="utf-8"
        )
        picture.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={folder}/profile", f"--window-size={WIDTH},{height}",
             "--force-device-scale-factor=2", f"--screenshot={picture.absolute()}",
             f"file://{folder}/funnel.html"],
            check=True, capture_output=True,
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
