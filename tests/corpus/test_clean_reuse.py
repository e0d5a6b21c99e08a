"""Same input, same bytes: whatever the workers, the interruptions and what was there before."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.corpus.cleaned import iter_documents, kept_parts
from pipeline.corpus.document import open_documents
from pipeline.corpus.sources import JsonlSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.fingerprint import digest
from pipeline.store.runtime import Runtime
from tests.corpus.conftest import CHINESE, hold_out, kept_ids, made_up, write_jsonl

CHECKOUT = Path(__file__).resolve().parents[2]
FILES = [
    {f"f{f}-{i}": made_up(10 * f + i, 60 + 20 * i) for i in range(6)}
    | {f"copy-{f}": made_up(0), f"short-{f}": "no", f"zh-{f}": CHINESE[f], f"crlf-{f}": "a\r\nb"}
    for f in range(4)
]
HELD = {"f1-2": made_up(12, 100), "held": made_up(21, 80)}


def contents(root: Path) -> dict[str, str]:
    """sha256 of every file of the corpus and its parts; of manifests all but the provenance."""
    found = {}
    for folder in ("clean", "parts/clean"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                if path.name == "manifest.json":
                    document = json.loads(data)
                    del document["provenance"]
                    data = json.dumps(document, sort_keys=True).encode()
                name = path.relative_to(root).as_posix()
                found[name] = hashlib.sha256(data).hexdigest()
    return found


def test_two_workers_write_the_same_bytes_as_one(clean, tmp_path):
    clean(FILES, HELD, root=tmp_path / "one")
    clean(FILES, HELD, root=tmp_path / "two", runtime=Runtime(workers=2))
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_second_run_reuses_everything(clean, tmp_path):
    first = clean(FILES, HELD)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "root").rglob("*.arrow")}
    assert clean(FILES, HELD).fingerprint == first.fingerprint
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "root").rglob("*.arrow")} == stamps


def test_adding_a_file_cleans_one_part(clean):
    first = clean(FILES[:3], HELD)
    stamps = {part.path: part.path.stat().st_mtime_ns for part in kept_parts(first)}
    second = clean(FILES, HELD)
    parts = kept_parts(second)
    assert [part.path for part in parts[:3]] == list(stamps)
    assert {part.path: part.path.stat().st_mtime_ns for part in parts[:3]} == stamps
    assert [part.fingerprint for part in parts[:3]] == [p.fingerprint for p in kept_parts(first)]
    assert second.fingerprint != first.fingerprint


def test_a_part_that_loses_other_rows_has_another_fingerprint(clean):
    first = clean([{"a": made_up(1), "b": made_up(2)}])
    second = clean([{"a": made_up(1), "b": made_up(2)}, {"c": made_up(2) + "  !!!!"}])
    assert kept_ids(second) == ["a", "c"]
    assert kept_parts(first)[0].path == kept_parts(second)[0].path
    assert kept_parts(first)[0].fingerprint != kept_parts(second)[0].fingerprint


def test_paths_do_not_enter_the_fingerprint(tmp_path):
    corpora = []
    for place in ("here", "there"):
        path = write_jsonl(tmp_path / place / "x.jsonl", FILES[0])
        config = CleanConfig(sources=(JsonlSource(name="s", paths=(str(path),)),))
        root = tmp_path / f"root-{place}"
        eval_set = hold_out(root, HELD)
        corpora.append(clean_corpus(config, eval_set, root=root, runtime=Runtime()))
    assert corpora[0].fingerprint == corpora[1].fingerprint


KILLED_RUN = """
import os, signal, sys
from pathlib import Path
from pipeline.artifacts import EvalSet
from pipeline.corpus.sources import JsonlSource
from pipeline.stages.clean_corpus import CleanConfig, clean_corpus
from pipeline.store.runtime import Runtime

root, files = Path(sys.argv[1]), sys.argv[2].split(",")
eval_set, left = Path(sys.argv[3]), [int(sys.argv[4])]

def hook(event, arguments):
    if event == "os.rename" and "/clean/" in str(arguments[0]):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
config = CleanConfig(sources=(JsonlSource(name="test", paths=tuple(files), ids="corpus"),))
clean_corpus(config, EvalSet.open(eval_set), root=root, runtime=Runtime())
"""


@pytest.mark.parametrize("rename", [1, 3, 5])  # before a manifest of four parts; 5: the corpus'
def test_a_run_killed_at_any_moment_ends_the_same_when_repeated(clean, tmp_path, rename):
    clean(FILES, HELD, root=tmp_path / "whole")
    root = tmp_path / "killed"
    eval_set = hold_out(root, HELD, name=f"held-{digest(HELD)[:12]}")
    paths = ",".join(str(tmp_path / f"in/f{i}.jsonl") for i in range(len(FILES)))
    command = [sys.executable, "-c", KILLED_RUN, str(root), paths, str(eval_set.path), str(rename)]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert result.returncode == -9, result.stderr
    assert not list((root / "clean").glob("*/manifest.json"))
    clean(FILES, HELD, root=root)
    assert contents(root) == contents(tmp_path / "whole")


def test_cleaning_loads_neither_torch_nor_prefect():
    heavy = ("torch", "prefect", "mlflow", "datasets")
    code = (
        "import sys, pipeline.stages.clean_corpus; "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_golden_result_changes_only_with_the_stage_version(clean):
    """If this fails, the same input gives another corpus: raise STAGE_VERSION or
    CLEAN_PART_VERSION, then update the digests."""
    corpus = clean([*FILES, {"near": made_up(35, 160).rsplit(" ", 3)[0]}], HELD)
    assert corpus.facts["dropped"] == {
        "length.too_few_chars": 8, "exact_duplicate": 3, "held_out": 2, "near_duplicate": 1,
    }  # fmt: skip
    told = [[d.doc_id, d.text] for d in iter_documents(corpus)]
    rows = []
    for part in kept_parts(corpus):
        with open_documents(part.path / "signatures.arrow") as reader:
            rows += reader.read_all().select(["key", "signature", "overlap"]).to_pylist()
    signatures = [[row["key"].hex(), row["signature"], row["overlap"]] for row in rows]
    assert digest(told)[:16] == "f246b4c478ef08fc"
    assert digest(signatures)[:16] == "5b7c4f9661212a5f"


def test_golden_default_identity():
    """If this fails, every existing corpus of the default configuration is built anew."""
    config = CleanConfig(sources=(JsonlSource(name="s", paths=("x",)),))
    assert digest(config.identity())[:16] == "634ee03414436169"
