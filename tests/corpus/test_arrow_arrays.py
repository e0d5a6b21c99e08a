"""Arrays made from buffers are those that pyarrow makes, and nothing on their way loads pandas."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.arrow_arrays import (
    bytes_array,
    number_array,
    number_lists,
    string_array,
    string_lists,
)

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
CLEANING = """
import sys, tempfile
from pathlib import Path
from benchmarks.own_cleaning import main
with tempfile.TemporaryDirectory() as directory:
    data = Path(directory, "data")
    data.mkdir()
    (data / "a.jsonl").write_text('{"text": "One line. Another line.", "id": "a"}\\n')
    main([str(data), str(Path(directory, "out"))])
print("pandas" in sys.modules)
"""


@given(st.lists(st.none() | TEXTS, max_size=20), st.booleans())
@settings(max_examples=60)
def test_strings_are_as_pyarrow_makes_them(values: list[str | None], large: bool) -> None:
    made = string_array(values, large=large)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.large_string() if large else pa.string()))


@given(st.lists(st.lists(TEXTS, max_size=4), max_size=12))
@settings(max_examples=60)
def test_lists_are_as_pyarrow_makes_them(values: list[list[str]]) -> None:
    made = string_lists(values)
    made.validate(full=True)
    assert made.equals(pa.array(values, pa.list_(pa.string())))
    sizes = [np.arange(len(value), dtype=np.int64) for value in values]
    numbers = number_lists(sizes, np.int64)
    numbers.validate(full=True)
    assert numbers.equals(pa.array([s.tolist() for s in sizes], pa.list_(pa.int64())))


@given(st.lists(st.tuples(st.integers(0, 255), st.booleans()), max_size=20))
@settings(max_examples=60)
def test_numbers_are_as_pyarrow_makes_them(rows: list[tuple[int, bool]]) -> None:
    missing = np.array([gone for _, gone in rows], np.bool_)
    for dtype in (np.bool_, np.uint8, np.int32, np.uint64, np.float32, np.float64):
        values = np.array([value for value, _ in rows]).astype(dtype)
        assert number_array(values).equals(pa.array(values))
        made = number_array(values, missing=missing)
        made.validate(full=True)
        assert made.equals(pa.array(values, mask=missing))


def test_strided_numbers_are_copied_in_order() -> None:
    values = np.arange(10, dtype=np.int64)[::3]
    assert number_array(values).to_pylist() == [0, 3, 6, 9]


def test_bytes_are_of_one_size() -> None:
    assert bytes_array([b"ab", b"cd"], 2).equals(pa.array([b"ab", b"cd"], pa.binary(2)))


def test_lone_surrogates_are_refused() -> None:
    with pytest.raises(UnicodeEncodeError):
        string_array(["\ud800"])


def test_cleaning_loads_no_pandas() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLEANING], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
