"""HTML to text measured: which extractor keeps the text and leaves the rest, and how fast.

    python -m benchmarks.extraction --data DIR   DIR is `tests` of a checkout of adbar/trafilatura:
                                                 evaldata.json and the pages in eval/ and cache/
    ... --quick                                  every tenth page, printed and never written

Per page, annotators chose up to six snippets that belong to the text and up to six that do not.
A snippet counts as found when it occurs in the extracted text, white space apart. Precision is the
share of wanted ones among those found, recall the share found of those wanted. Pages are decoded
as the HTML source does; both extractors see the same text, in turn, in this process. The last row
is the way the source takes: a child process that may be killed.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import render
from benchmarks.results_file import (
    RESULTS,
    Claim,
    Result,
    Row,
    here,
    require_clean,
    today,
    write_result,
)
from pipeline.corpus.sources.charset import decode_page
from pipeline.corpus.sources.extraction import Extractor, Refusal
from pipeline.corpus.sources.extraction_worker import extractor
from pipeline.store.errors import DataError, MillError

OURS, PEER = "trafilatura", "resiliparse"
F1_TARGET, F1_MARGIN = 0.90, 0.05
QUICK_STEP = 10


@dataclass(frozen=True)
class Page:
    """A page with what annotators say about it."""

    html: str
    wanted: tuple[str, ...]
    unwanted: tuple[str, ...]


@dataclass
class Score:
    """Snippets by whether they were wanted and found, and the CPU seconds it took."""

    true_positives: int = 0
    false_positives: int = 0
    false_negatives: int = 0
    pages: int = 0
    empty: int = 0
    seconds: float = 0.0
    longest_seconds: float = 0.0

    def add(self, page: Page, text: str, seconds: float) -> None:
        """Count one page."""
        found = " ".join(text.split())
        hits = sum(snippet in found for snippet in page.wanted)
        noise = sum(snippet in found for snippet in page.unwanted)
        self.true_positives += hits
        self.false_negatives += len(page.wanted) - hits
        self.false_positives += noise
        self.pages += 1
        self.empty += not found
        self.seconds += seconds
        self.longest_seconds = max(self.longest_seconds, seconds)

    @property
    def precision(self) -> float:
        """Share of the found snippets that were wanted."""
        return self.true_positives / max(1, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the wanted snippets that were found."""
        return self.true_positives / max(1, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0

    def f1_interval(self) -> tuple[float, float]:
        """95 % interval, as if the snippets were drawn independently (they are not quite)."""
        drawn = 2 * self.true_positives + self.false_positives + self.false_negatives
        half = 1.96 * math.sqrt(self.f1 * (1 - self.f1) / max(1, drawn))
        return self.f1 - half, self.f1 + half


def read_pages(directory: Path, *, step: int = 1) -> list[Page]:
    """Every `step`-th annotated page; DataError where the folder is not what it should be."""
    path = directory / "evaldata.json"
    if not path.is_file():
        raise DataError(f"{path} does not exist; --data is `tests` of a checkout of trafilatura")
    pages = []
    for facts in list(json.loads(path.read_text(encoding="utf-8")).values())[::step]:
        homes = [directory / folder / facts["file"] for folder in ("cache", "eval")]
        home = next((home for home in homes if home.is_file()), None)
        if home is None:
            raise DataError(f"{facts['file']} is in neither cache/ nor eval/ of {directory}")
        snippets = [
            tuple(" ".join(one.split()) for one in facts[key]) for key in ("with", "without")
        ]
        pages.append(Page(decode_page(home.read_bytes()).text, *snippets))
    return pages


def measure(pages: Sequence[Page], extractors: dict[str, Callable[[str], str]]) -> dict[str, Score]:
    """Every extractor on every page, in turn."""
    scores = {name: Score() for name in extractors}
    for page in pages:
        for name, extract in extractors.items():
            start = time.process_time()
            text = extract(page.html)
            scores[name].add(page, text, time.process_time() - start)
    return scores


def measure_child(pages: Sequence[Page]) -> tuple[float, int]:
    """(wall seconds, pages refused) of the chosen extractor in its child process."""
    refused = 0
    with Extractor(OURS, "balanced", seconds=10.0) as child:
        child.text_of("<html></html>")  # its start is paid once per part, not per page
        start = time.perf_counter()
        for page in pages:
            refused += isinstance(child.text_of(page.html), Refusal)
        return time.perf_counter() - start, refused


def result_of(pages: Sequence[Page], versions: Sequence[str]) -> Result:
    """Measure and put into rows."""
    scores = measure(pages, {name: extractor(name, "balanced") for name in (OURS, PEER)})
    ours, theirs = scores[OURS], scores[PEER]
    seconds, refused = measure_child(pages)
    told: dict[str, Any] = {"better": "higher", "peer": PEER}
    what = f"{len(pages)} annotated pages"
    rows = (
        Row(f"F1, {what}", "F1", (ours.f1,), theirs=(theirs.f1,),
            interval=ours.f1_interval(), **told),
        Row("precision", "share", (ours.precision,), theirs=(theirs.precision,), **told),
        Row("recall", "share", (ours.recall,), theirs=(theirs.recall,), **told),
        Row("pages per CPU second", "pages/s", (ours.pages / ours.seconds,),
            theirs=(theirs.pages / theirs.seconds,), **told),
        Row("longest page", "CPU s", (ours.longest_seconds,), better="lower", peer=PEER,
            theirs=(theirs.longest_seconds,), detail=True),
        Row("pages without text", "pages", (float(ours.empty),), better="lower", peer=PEER,
            theirs=(float(theirs.empty),), detail=True),
        Row("pages per second, killable child", "pages/s", (len(pages) / seconds,),
            better="higher", detail=True),
        Row("pages refused by the child", "pages", (float(refused),), better="lower", detail=True),
    )  # fmt: skip
    claims = (
        Claim(
            f"F1 of the chosen extractor >= {F1_TARGET}", F1_TARGET, ours.f1, ours.f1 >= F1_TARGET
        ),
        Claim(
            f"its F1 is at least {F1_MARGIN} above the faster one's", F1_MARGIN,
            ours.f1 - theirs.f1, ours.f1 - theirs.f1 >= F1_MARGIN,
        ),
    )  # fmt: skip
    return Result("extraction", today(), here(versions), rows, claims)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and unless told otherwise write; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.extraction", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="annotated pages")
    parser.add_argument("--quick", action="store_true", help="every tenth page, not written")
    parser.add_argument("--no-write", action="store_true", help="print only")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result file")
    given = parser.parse_args(arguments)
    try:
        if not (given.quick or given.no_write):
            require_clean(here())  # before the minutes, not after
        pages = read_pages(given.data, step=QUICK_STEP if given.quick else 1)
        result = result_of(pages, (OURS, PEER))
        print(render([result], short=False))
        if not (given.quick or given.no_write):
            print(f"written: {write_result(result, given.out)}")
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
