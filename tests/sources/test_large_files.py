import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.corpus.sources import cuts
from pipeline.corpus.sources.inputs import InputUnit
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.corpus.sources.parquet import ParquetSource
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.text import TextSource
from pipeline.store.files import sha256_bytes
from pipeline.store.runtime import Runtime
from tests.sources.conftest import Read

Reader = Callable[..., Read]
CHECKOUT = Path(cuts.__file__).resolve().parents[3]


def lines(count: int, seed: int = 0) -> bytes:
    rng = random.Random(seed)
    rows = [{"text": f"{i} " + "x" * rng.randrange(80)} for i in range(count)]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def jsonl(path: Path, **settings: object) -> JsonlSource:
    return JsonlSource(name="web", paths=(str(path),), **settings)


@pytest.mark.parametrize("block_bytes", [1, 7, 1 << 20])
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    text=st.lists(st.sampled_from([b"\n", b"ab", b"<eot>", b"<", b"<eo", b"t>"]), max_size=40),
    separator=st.sampled_from([b"\n", b"<eot>"]),
    split_bytes=st.integers(1, 30),
)
def test_pieces_are_the_file_and_end_behind_separators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, text: list[bytes],
    separator: bytes, split_bytes: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(cuts, "BLOCK_BYTES", block_bytes)
    data = b"".join(text)
    (tmp_path / "x").write_bytes(data)
    pieces = cuts.cut_records(tmp_path / "x", separator=separator, split_bytes=split_bytes)
    assert b"".join(data[p.start : p.stop] for p in pieces) == data
    for piece in pieces:
        content = data[piece.start : piece.stop]
        assert piece.identity == sha256_bytes(content)
        assert piece.first_row == data[: piece.start].count(separator)
        if piece is not pieces[-1]:
            assert content.endswith(separator)
            assert len(content) >= split_bytes
            assert separator not in content[split_bytes - 1 : -len(separator)]


def test_separators_that_overlap_themselves_are_not_cut_at() -> None:
    assert [cuts.is_cuttable(s) for s in (b"\n", b"<eot>", b"aa", b"aba", b"\n\n")] == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_pieces_give_the_rows_of_the_whole_file(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines(500))
    whole = read(jsonl(tmp_path / "x.jsonl"))
    cut = read(jsonl(tmp_path / "x.jsonl", split_bytes=4_000), root=tmp_path / "cut")
    assert len(cut.parts) > 5
    assert list(cut.documents.values()) == list(whole.documents.values())
    assert [m["row"] for m in cut.metadata.values()] == list(range(500))
    assert len(cut.documents) == 500


def test_pieces_are_the_same_for_any_number_of_workers(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines(300))
    source = jsonl(tmp_path / "x.jsonl", split_bytes=4_000)
    inline = read(source)
    pooled = read(source, root=tmp_path / "pool", runtime=Runtime(workers=2))
    for one, two in zip(inline.parts, pooled.parts, strict=True):
        assert one.documents_path.read_bytes() == two.documents_path.read_bytes()


def test_appending_to_a_large_file_reads_its_last_piece_only(tmp_path: Path, read: Reader) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines(500))
    source = jsonl(path, split_bytes=4_000)
    before = read(source).fingerprints
    with open(path, "ab") as handle:
        handle.write(b'{"text": "new"}\n')
    after = read(source).fingerprints
    assert after[: len(before) - 1] == before[:-1]
    assert 1 <= len(set(after) - set(before)) <= 2


def test_work_goes_on_inside_a_large_file(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines(300))
    source = jsonl(tmp_path / "x.jsonl", split_bytes=4_000)
    first = read(source)
    (first.parts[2].path / "manifest.json").unlink()  # as a killed run leaves it
    parse = JsonlSource.parse
    parsed: list[str] = []

    def parse_and_tell(self: JsonlSource, unit: InputUnit, writer: PartWriter) -> None:
        parsed.append(unit.name)
        parse(self, unit, writer)

    monkeypatch.setattr(JsonlSource, "parse", parse_and_tell)
    assert read(source).documents == first.documents
    assert parsed == ["x.jsonl@3"]


def test_own_ids_repeated_in_another_piece_stay_distinct(tmp_path: Path, read: Reader) -> None:
    row = json.dumps({"id": "same", "text": "x" * 900}).encode() + b"\n"
    (tmp_path / "x.jsonl").write_bytes(row * 4)
    result = read(jsonl(tmp_path / "x.jsonl", split_bytes=1_500))
    assert list(result.documents) == [
        "web/x/same", "web/x/same#2", "web/x@2/same", "web/x@2/same#2",
    ]  # fmt: skip


def test_large_file_without_a_place_to_cut_is_known_by_its_content(
    tmp_path: Path, read: Reader
) -> None:
    path = tmp_path / "x.jsonl"
    fingerprints = []
    for letter in "ab":
        path.write_text(json.dumps({"text": letter * 5_000}))
        result = read(jsonl(path, split_bytes=1_024))
        assert list(result.documents.values()) == [letter * 5_000]
        fingerprints += result.fingerprints
    assert len(set(fingerprints)) == 2


def test_separated_text_is_cut_and_unseparated_text_is_not(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.txt").write_text("<eot>".join(f"document {i}" for i in range(500)))
    texts = {"name": "t", "paths": (str(tmp_path),), "split_bytes": 1024}
    cut = read(TextSource(**texts, separator="<eot>"))
    assert list(cut.documents.values()) == [f"document {i}" for i in range(500)]
    assert len(cut.parts) > 3
    assert len(read(TextSource(**texts), root=tmp_path / "whole").parts) == 1


def test_row_groups_are_pieces_of_a_large_parquet_file(tmp_path: Path, read: Reader) -> None:
    table = pa.table({"text": [f"text {i} " * 20 for i in range(400)]})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=50, compression="none")
    settings = {"name": "p", "paths": (str(tmp_path),)}
    whole = read(ParquetSource(**settings))
    cut = read(ParquetSource(**settings, split_bytes=15_000), root=tmp_path / "cut")
    assert len(cut.parts) > 2
    assert list(cut.documents.values()) == list(whole.documents.values())
    assert [m["row"] for m in cut.metadata.values()] == list(range(400))


PEAK = """
import sys
from pathlib import Path
from pipeline.corpus.reading import read_sources
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.store.runtime import Runtime
source = JsonlSource(name="web", paths=(sys.argv[1],))
read_sources([source], root=Path(sys.argv[2]), runtime=Runtime())
# Not ru_maxrss, which a child inherits from whoever started it.
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ten_times_the_input_needs_no_more_memory(tmp_path: Path) -> None:
    peaks = []
    for times in (1, 10):
        path = tmp_path / f"{times}.jsonl"
        line = json.dumps({"text": "word " * 600}).encode() + b"\n"
        path.write_bytes(line * 7_000 * times)  # 21 and 210 MB
        command = [sys.executable, "-c", PEAK, str(path), str(tmp_path / f"root{times}")]
        result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=CHECKOUT)
        peaks.append(int(result.stdout) / 1024)
    assert peaks[1] < peaks[0] * 1.25, peaks
    assert peaks[1] < 400, peaks
