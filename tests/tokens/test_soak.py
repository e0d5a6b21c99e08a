from pathlib import Path

import pytest

from benchmarks.million_documents import run, shown


@pytest.mark.soak
def test_a_million_documents_take_no_more_memory_than_a_tenth_of_them(tmp_path: Path) -> None:
    small, large = (run(count, tmp_path / str(count)) for count in (100_000, 1_000_000))
    print(shown(large))
    assert large.peak <= 1.25 * small.peak
    assert large.peak <= 400
