import json
import math
import resource
import subprocess
import sys
from pathlib import Path

from pipeline.tracking.journal import FileJournal, read_all, read_journal


def test_journal_reads_back_what_was_written(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", "pretrain")
    journal.metrics({"loss": 1.5, "nan": math.nan, "up": math.inf}, step=3)
    journal.event("saved", {"path": Path("x"), "n": 1})
    metrics, event = read_all(journal.path).records
    assert (metrics.step, metrics.metrics["loss"], metrics.metrics["up"]) == (3, 1.5, math.inf)
    assert math.isnan(metrics.metrics["nan"])
    assert (event.event, event.facts) == ("saved", {"path": "x", "n": 1})


def test_journal_lines_are_plain_json(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl")
    journal.metrics({"loss": math.nan}, step=0)

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    json.loads(journal.path.read_text(), parse_constant=refuse)


def test_torn_last_line_is_left_out_and_cut_by_the_next_writer(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    FileJournal(path).metrics({"a": 1}, step=0)
    whole = path.read_bytes()
    for length in range(1, len(whole)):
        path.write_bytes(whole + whole[:length])
        assert len(read_all(path).records) == 1
    FileJournal(path).metrics({"a": 2}, step=1)
    assert [r.metrics for r in read_all(path).records] == [{"a": 1}, {"a": 2}]
    assert read_all(path).broken == 0


def test_broken_line_in_the_middle_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    journal = FileJournal(path)
    journal.metrics({"a": 1}, step=0)
    for damage in (b'{"t": 1, "metr\n', b"[]\n", b"\xff\n", b'{"t": 1}\n'):
        path.write_bytes(path.read_bytes() + damage)
    journal.metrics({"a": 2}, step=1)
    reading = read_all(path)
    assert (len(reading.records), reading.broken) == (2, 4)


def test_reading_goes_on_where_it_stopped(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl")
    for step in range(100):
        journal.metrics({"a": step}, step=step)
    offset, steps = 0, []
    while (reading := read_journal(journal.path, offset=offset, max_bytes=100)).records:
        steps += [record.step for record in reading.records]
        offset = reading.offset
    assert steps == list(range(100))


def test_value_that_is_no_number_is_counted_and_does_not_raise(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl")
    journal.metrics({"a": "x", "b": None, "c": 1}, step=0)  # type: ignore[dict-item]
    assert journal.lost == 2
    assert read_all(journal.path).records[0].metrics == {"c": 1.0}


def test_place_that_cannot_be_written_does_not_raise(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    journal = FileJournal(tmp_path / "file" / "j.jsonl")
    journal.metrics({"a": 1}, step=0)
    journal.event("e", {})
    assert journal.lost == 3


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from pipeline.tracking.journal import FileJournal, read_all
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
journal = FileJournal(Path(sys.argv[1]))
for step in range(100):
    journal.metrics({"loss": 1.0}, step=step)
reading = read_all(journal.path)
assert reading.broken == 0, reading
assert [r.step for r in reading.records] == list(range(len(reading.records)))
assert journal.lost == 100 - len(reading.records) > 0
assert not {"mlflow", "pydantic", "torch"} & set(sys.modules)
"""


def test_full_disk_is_counted_warned_of_once_and_leaves_whole_lines(tmp_path: Path) -> None:
    assert hasattr(resource, "RLIMIT_FSIZE")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "j.jsonl")],
        capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("could not record") == 1
