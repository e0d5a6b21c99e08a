"""datatrove's FineWeb filters on a folder of JSON Lines; runs in the peer's environment.

    python peer_cleaning.py FOLDER OUT [--tasks 2]

Needs datatrove with its filters' dependencies and nothing of this project. Everything is written as
plain JSON Lines: kept documents below OUT/kept, each filter's rejects below OUT/<filter>.
"""

import argparse

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.formatters import PIIFormatter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


def steps(folder: str, out: str) -> list[PipelineStep]:
    """FineWeb's filters in its order, its settings where they differ from the defaults."""

    def writer(name: str) -> JsonlWriter:
        return JsonlWriter(f"{out}/{name}", compression=None)

    return [
        JsonlReader(folder, glob_pattern="*.jsonl"),
        GopherRepetitionFilter(exclusion_writer=writer("gopher_repetition")),
        GopherQualityFilter(exclusion_writer=writer("gopher_quality")),
        C4QualityFilter(filter_no_terminal_punct=False, exclusion_writer=writer("c4")),
        FineWebQualityFilter(exclusion_writer=writer("fineweb")),
        PIIFormatter(),
        writer("kept"),
    ]


def main() -> None:
    """Run it; one task per file at most."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("out")
    parser.add_argument("--tasks", type=int, default=1)
    given = parser.parse_args()
    LocalPipelineExecutor(
        steps(given.folder, given.out),
        tasks=given.tasks,
        logging_dir=f"{given.out}/logs",
    ).run()


if __name__ == "__main__":
    main()
