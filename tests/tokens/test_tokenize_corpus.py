import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import CleanedCorpus, TrainedTokenizer
from pipeline.stages import tokenize_corpus as tokenize_stage
from pipeline.stages.tokenize_corpus import TokenizeConfig, tokenize_corpus
from pipeline.store.errors import ArtifactError, DataError
from pipeline.store.manifest import is_finished
from pipeline.store.runtime import Runtime
from pipeline.tokens.shards import Shards, shard_paths
from pipeline.tokens.slices import cut, is_validation
from tests.tokens.conftest import SHARDS, paragraphs
from tests.tokens.corpora import cleaned_corpus

CHECKOUT = Path(__file__).parents[2]


def content(shards):
    """Every shard file by name, of all parts in order."""
    return [(p.name, p.read_bytes()) for part in shards.part_paths() for p in sorted(part.iterdir())
            if p.suffix == ".arrow"]  # fmt: skip


def under(root, new_root, corpus, artifact):
    """The same inputs below another root, without the tokens made from them."""
    for name in ("clean", "tokenizer", "parts/clean"):
        (new_root / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(root / name, new_root / name)
    return (
        CleanedCorpus(new_root / "clean" / corpus.path.name, corpus.fingerprint),
        TrainedTokenizer(new_root / "tokenizer" / artifact.path.name, artifact.fingerprint),
    )


def test_two_workers_write_the_same_bytes_as_one(
    root, corpus, artifact, shards, tmp_path, monkeypatch
):
    monkeypatch.setattr(tokenize_stage, "INLINE_BYTES", 0)
    inputs = under(root, tmp_path, corpus, artifact)
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime(workers=2))
    assert again.fingerprint == shards.fingerprint
    assert content(again) == content(shards)
    assert again.facts == shards.facts
    assert len(content(shards)) > 8


@pytest.mark.parametrize("per_worker", [1, 3])
def test_how_slices_are_handed_out_changes_nothing(
    root, corpus, artifact, shards, tmp_path, monkeypatch, per_worker
):
    """Also when some of the slices of a run were done before."""
    monkeypatch.setattr(tokenize_stage, "RUNS_PER_WORKER", per_worker)
    inputs = under(root, tmp_path, corpus, artifact)
    part = shards.part_paths()[0].name
    staging = tmp_path / "tokens" / shards.path.name / "staging" / part
    tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    made = tmp_path / "parts" / "tokenize" / part
    staging.mkdir(parents=True)
    facts = json.loads((made / "manifest.json").read_text())["facts"]
    for number in ("00001", "00003"):
        counts = {}
        for split in ("train", "validation"):
            path = made / f"{split}-{number}.arrow"
            opened = Shards.open([path]) if path.is_file() else None
            counts[f"{split}_documents"] = opened.num_documents if opened else 0
            counts[f"{split}_tokens"] = opened.num_tokens if opened else 0
            counts[f"{split}_bytes"] = 0
            if opened:
                path.rename(staging / path.name)
        counts |= {"shards": 1, "sources": {}, "engines": {"done before": 1}}
        (staging / f"slice-{number}.json").write_text(json.dumps(counts))
    (made / "manifest.json").unlink()
    (tmp_path / "tokens" / shards.path.name / "manifest.json").unlink()
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    assert content(again) == content(shards)
    assert again.facts["engines"]["done before"] == 2
    assert again.facts["train_tokens"] == shards.facts["train_tokens"] > facts["train_tokens"]


def test_facts_add_up(shards, corpus, tokenizer):
    facts = shards.facts
    opened = {s: Shards.open(shard_paths(shards, s)) for s in ("train", "validation")}
    for split, tokens in opened.items():
        assert facts[f"{split}_tokens"] == tokens.num_tokens
        assert facts[f"{split}_documents"] == tokens.num_documents
    assert facts["documents"] == sum(s["documents"] for s in facts["sources"].values())
    assert facts["bytes"] == facts["train_bytes"] + facts["validation_bytes"]
    assert facts["train_tokens"] + facts["validation_tokens"] == sum(
        source["tokens"] for source in facts["sources"].values()
    )
    assert (facts["vocab_size"], facts["dtype"]) == (600, "uint16")
    assert facts["tokenizer_sha256"] == tokenizer.sha256
    assert not (shards.path / "staging").exists()


def test_validation_is_chosen_by_document_id_alone(shards):
    split = {
        name: [Shards.open(shard_paths(shards, name)).document(i)[0] for i in range(5)]
        for name in ("train", "validation")
    }
    for name, ids in split.items():
        for doc_id in ids:
            assert is_validation(doc_id, fraction=0.1, seed=3) == (name == "validation")
    many = [is_validation(f"d{i}", fraction=0.25, seed=1) for i in range(4000)]
    assert 0.22 < np.mean(many) < 0.28


def test_a_new_source_leaves_the_other_parts_as_they_are(root, corpus, artifact, shards):
    more = paragraphs() | {"new": [("new/0", "entirely new words")]}
    wider = cleaned_corpus(root, more, removed={"code": [1, 5]})
    stamps = {p: p.stat().st_mtime_ns for part in shards.part_paths() for p in part.iterdir()}
    added = tokenize_corpus(SHARDS, wider, artifact, root=root, runtime=Runtime())
    assert added.part_paths()[:2] == shards.part_paths()
    assert len(added.part_paths()) == 3
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in stamps.items())


def test_damaged_part_is_named_on_reuse(root, corpus, artifact, shards, tmp_path):
    inputs = under(root, tmp_path, corpus, artifact)
    made = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    victim = shard_paths(made, "train")[0]
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    with pytest.raises(ArtifactError, match="train-00000.arrow is damaged"):
        tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())


def test_corpus_without_documents_is_refused(tmp_path, root, artifact):
    corpus = cleaned_corpus(
        tmp_path, {"s": [("s/0", "text"), ("s/1", "more")]}, removed={"s": [0, 1]}
    )
    with pytest.raises(DataError, match="no documents"):
        tokenize_corpus(TokenizeConfig(), corpus, artifact, root=tmp_path, runtime=Runtime())


def test_validation_that_takes_all_is_refused(tmp_path, artifact):
    corpus = cleaned_corpus(tmp_path, {"s": [("s/0", "text")]})
    config = TokenizeConfig(validation_fraction=0.999_999)
    with pytest.raises(DataError, match="all 1 documents fell to the validation split"):
        tokenize_corpus(config, corpus, artifact, root=tmp_path, runtime=Runtime())


@pytest.mark.parametrize("size", [5_000_000, pytest.param(50_000_000, marks=pytest.mark.slow)])
def test_a_huge_line_becomes_one_row(tmp_path, artifact, tokenizer, size):
    line = "words of a line that never ends " * (size // 32)
    corpus = cleaned_corpus(tmp_path, {"s": [("s/0", "before"), ("s/1", line), ("s/2", "after")]})
    config = TokenizeConfig(validation_fraction=0)
    made = tokenize_corpus(config, corpus, artifact, root=tmp_path, runtime=Runtime())
    opened = Shards.open(shard_paths(made, "train"), verify="full")
    assert [opened.document(i)[0] for i in range(3)] == ["s/0", "s/1", "s/2"]
    assert tokenizer.decode_bytes(opened.document(1)[2][1:-1].tolist()) == line.encode()
    assert made.facts["bytes"] == len(line) + len("beforeafter")


def test_slices_cover_every_document_in_nearly_equal_shares():
    rng = np.random.default_rng(0)
    for sizes in ([], [5], [0, 0, 0], [10**9, 1], rng.integers(0, 900, 500), [3] * 64):
        runs = cut(np.array(sizes, np.int64), 1000)
        covered = [i for start, stop in runs for i in range(start, stop)]
        assert covered == list(range(len(sizes)))
        assert all(start < stop for start, stop in runs)
    sums = [3 * (stop - start) for start, stop in cut(np.full(1000, 3), 900)]
    assert (min(sums), max(sums), len(sums)) == (750, 750, 4)


SCRIPT = """
import sys
from pathlib import Path
from pipeline.artifacts import CleanedCorpus, TrainedTokenizer
from pipeline.stages import tokenize_corpus as tokenize_stage
from pipeline.stages.tokenize_corpus import TokenizeConfig, tokenize_corpus
from pipeline.store.runtime import Runtime
root, corpus, tokenizer = map(Path, sys.argv[1:])
config = TokenizeConfig(validation_fraction=0.1, seed=3, shard_bytes=8192)
tokenize_corpus(config, CleanedCorpus.open(corpus), TrainedTokenizer.open(tokenizer), root=root,
                runtime=Runtime())
"""


@pytest.mark.parametrize("after", [1, 4, 9, 12])
def test_killed_at_any_moment_the_next_call_ends_with_the_same_bytes(
    root, corpus, artifact, shards, tmp_path, after
):
    inputs = under(root, tmp_path, corpus, artifact)
    command = [sys.executable, "-P", "-c", SCRIPT, tmp_path, *(i.path for i in inputs)]
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    child = subprocess.Popen([str(c) for c in command], env=environment, cwd=tmp_path)
    try:
        while child.poll() is None:
            made = list(tmp_path.glob("tokens/*/staging/*/*.arrow"))
            made += list(tmp_path.glob("parts/tokenize/*/*.arrow"))
            if len(made) >= after:
                child.send_signal(signal.SIGKILL)
                break
            time.sleep(0.0005)
    finally:
        child.wait()
    directory = tmp_path / "tokens" / shards.path.name
    assert child.returncode == -signal.SIGKILL or is_finished(directory)
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    assert content(again) == content(shards)
    assert again.fingerprint == shards.fingerprint
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_shards_lost_between_staging_and_their_place_are_made_again(
    root, corpus, artifact, shards, tmp_path
):
    """A kill while a part is sealed leaves its facts in staging, its shards moved on and lost."""
    inputs = under(root, tmp_path, corpus, artifact)
    tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    directory = tmp_path / "tokens" / shards.path.name
    part = shards.part_paths()[0].name
    staging = directory / "staging" / part
    staging.mkdir(parents=True)
    (directory / "manifest.json").unlink()
    (tmp_path / "parts" / "tokenize" / part / "manifest.json").unlink()
    (staging / "slice-00000.json").write_text('{"train_documents": 1, "validation_documents": 0}')
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    assert content(again) == content(shards)


def test_workers_load_no_heavy_package():
    """What a child imports to encode a slice, and what training imports to read shards."""
    code = (
        "import sys; import {modules}; "
        "heavy = {{'torch', 'prefect', 'mlflow', 'datasets', 'transformers', 'typer'{more}}}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    light = "pipeline.tokens.slices, pipeline.tokens.tokenizer, pipeline.stages.tokenize_corpus"
    reading = "pipeline.tokens.shards, pipeline.tokens.batches, pipeline.tokens.prefetch"
    for modules, more in ((light, ""), (reading, ", 'pydantic', 'tiktoken', 'rustbpe'")):
        result = subprocess.run(
            [sys.executable, "-c", code.format(modules=modules, more=more)],
            capture_output=True, text=True, check=True, cwd=CHECKOUT,
        )  # fmt: skip
        assert result.stdout.strip() == "[]"
