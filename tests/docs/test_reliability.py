"""Every test that the fault table names exists, and every fault that is asked about has a row."""

import re
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"
NAMED = re.compile(r"`(?P<file>[\w/]*\.py)?(?:::(?P<test>test_\w+))?`")


def named_tests() -> list[tuple[str, str]]:
    """(file, test) of every name; `::test` alone belongs to the file named before it."""
    found, file = [], ""
    for match in NAMED.finditer(PAGE.read_text(encoding="utf-8")):
        file = match["file"] or file
        if match["file"] or match["test"]:
            found.append((file, match["test"] or ""))
    return found


def test_every_named_test_exists() -> None:
    names = named_tests()
    assert len(names) > 35
    for file, test in names:
        path = TESTS / file
        assert path.is_file(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"


def test_every_row_has_a_result_and_a_test() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "| "]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 3 and all(cells), row
        assert cells[0] == "fault" or "`" in cells[2], row
