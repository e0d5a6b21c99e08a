"""All results as Markdown, for the README: `python -m benchmarks.report [--full]`.

Where a peer's figure is the better one the table says that we lose, and a missed claim is listed
as missed.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.results_file import RESULTS, Claim, Result, Row, median, read_result
from pipeline.store.errors import MillError


def main(arguments: Sequence[str] | None = None) -> int:
    """Print every result in the folder; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also the rows marked as detail")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the result files")
    given = parser.parse_args(arguments)
    try:
        results = [read_result(path) for path in sorted(given.results.glob("*.json"))]
    except MillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    if not results:
        print(f"error: no result file in {given.results}", file=sys.stderr)
        return 1
    print(render(results, short=not given.full))
    return 0


def render(results: Iterable[Result], *, short: bool) -> str:
    """Markdown of all results, one table each; `short` leaves out rows marked as detail."""
    return "\n\n".join("\n".join(_result(result, short=short)) for result in results)


def _result(result: Result, *, short: bool) -> Iterator[str]:
    measured = result.measured
    versions = ", ".join(f"{name} {version}" for name, version in measured.versions.items())
    yield f"**{_plain(result.benchmark)}**: {result.date}, commit `{measured.commit[:12]}`" + (
        "" if measured.clean else " and uncommitted changes"
    )
    yield f"({_plain(measured.hardware)}; {_plain(versions)})"
    rows = [row for row in result.rows if not (short and row.detail)]
    if rows:
        yield ""
        yield "| what | ours | beside it |"
        yield "|---|---:|---|"
        for _, group in groupby(rows, key=lambda row: (row.case, row.unit)):
            yield _line(list(group))
    if result.claims:
        yield ""
        yield from (_claim(claim) for claim in result.claims)


def _line(rows: list[Row]) -> str:
    """One case, all its peers, the strongest first."""
    row = rows[0]
    ours = f"{_number(median(row.ours), row.unit)} {row.unit}"
    if row.interval is not None:
        low, high = row.interval
        ours += f" ({_number(low, row.unit)} to {_number(high, row.unit)})"
    peers = [row for row in rows if row.theirs]
    peers.sort(key=lambda row: median(row.theirs), reverse=row.better == "higher")
    return f"| {_plain(row.case)} | {ours} | {'; '.join(_peer(peer) for peer in peers)} |"


def _peer(row: Row) -> str:
    assert row.peer is not None
    verdict = " **(we lose)**" if row.loses else ""
    return f"{_plain(row.peer)} {_number(median(row.theirs), row.unit)}{verdict}"


def _claim(claim: Claim) -> str:
    verdict = "met" if claim.met else "**MISSED**"
    return (
        f"- {verdict}: {_plain(claim.claim)} "
        f"(measured {_number(claim.value)}, target {_number(claim.target)})"
    )


def _number(value: float, unit: str = "") -> str:
    """Three decimals below ten, one below a thousand and in percentages, else none.

    What would be 0.000 and is not gets two significant digits.
    """
    if 0 < abs(value) < 0.0005:
        return f"{value:.2g}"
    digits = 3 if abs(value) < 10 and unit != "%" else 1 if abs(value) < 1000 else 0
    return f"{value:,.{digits}f}"


def _plain(text: str) -> str:
    """`text` as one table cell: nothing in it ends the cell or the line."""
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
