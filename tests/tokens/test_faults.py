"""What goes wrong around tokenizing, and what is left afterwards."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.artifacts import CleanedCorpus, TokenShards, TrainedTokenizer
from pipeline.stages.tokenize_corpus import TokenizeConfig, tokenize_corpus
from pipeline.store.manifest import is_finished, read_manifest
from pipeline.store.runtime import Runtime
from pipeline.tokens.ranks import CACHE_NAMES, find_ranks
from pipeline.tokens.shards import Shards, shard_paths
from pipeline.tokens.tokenizer import SPECIALS, Tokenizer
from tests.tokens.conftest import SHARDS
from tests.tokens.corpora import cleaned_corpus
from tests.tokens.test_tokenize_corpus import CHECKOUT, SCRIPT, content, under

Inputs = tuple[CleanedCorpus, TrainedTokenizer]


@pytest.fixture
def inputs(root: Path, corpus: CleanedCorpus, artifact: TrainedTokenizer, tmp_path: Path) -> Inputs:
    return under(root, tmp_path, corpus, artifact)


def start(
    root: Path, inputs: Inputs, before: Callable[[], None] | None = None
) -> "subprocess.Popen[str]":
    """The stage in a process of its own."""
    command = [sys.executable, "-P", "-c", SCRIPT, str(root), *(str(i.path) for i in inputs)]
    return subprocess.Popen(
        command, cwd=root, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, text=True,
        stderr=subprocess.PIPE, preexec_fn=before,
    )  # fmt: skip


def shard_count(root: Path) -> int:
    made = list(root.glob("tokens/*/staging/*/*.arrow"))
    return len(made) + len(list(root.glob("parts/tokenize/*/*.arrow")))


def test_two_processes_in_one_place_make_one_artifact(
    tmp_path: Path, inputs: Inputs, shards: TokenShards
) -> None:
    both = [start(tmp_path, inputs) for _ in range(2)]
    assert [(child.wait(), child.communicate()[1]) for child in both] == [(0, ""), (0, "")]
    found = TokenShards.open(tmp_path / "tokens" / shards.path.name)
    assert content(found) == content(shards)
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_after_ctrl_c_the_same_call_goes_on(
    tmp_path: Path, inputs: Inputs, shards: TokenShards
) -> None:
    child = start(tmp_path, inputs)
    while child.poll() is None and shard_count(tmp_path) < 3:
        time.sleep(0.0005)
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    directory = tmp_path / "tokens" / shards.path.name
    assert is_finished(directory) or "KeyboardInterrupt" in said
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    assert content(again) == content(shards)


def small_files_only() -> None:
    """As on a full disk: what would grow a file beyond 6 kB fails with an error, not a signal."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, 6_000))


def test_a_full_disk_is_said_clearly_and_the_same_call_goes_on(
    tmp_path: Path, inputs: Inputs, shards: TokenShards
) -> None:
    child = start(tmp_path, inputs, before=small_files_only)
    said = child.communicate()[1]
    assert child.returncode > 0, "an error, not a signal such as SIGBUS"
    assert "ArtifactError: the disk is full" in said
    assert "free some space and run the same command again" in said
    again = tokenize_corpus(SHARDS, *inputs, root=tmp_path, runtime=Runtime())
    assert content(again) == content(shards)
    assert not list(tmp_path.rglob("*.tmp-*"))


def test_a_read_only_cache_is_read_and_nothing_is_written_beside_it(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    damaged = cache / CACHE_NAMES["cl100k_base"]
    damaged.write_bytes(b"half a downlo")
    before = damaged.stat()
    cache.chmod(0o500)
    try:
        with pytest.raises(Exception, match="nothing is downloaded: set tokenizer.file"):
            find_ranks("cl100k_base", [cache])
    finally:
        cache.chmod(0o700)
    assert damaged.stat() == before
    assert list(cache.iterdir()) == [damaged]


def markers() -> Iterator[str]:
    for special in (*SPECIALS, "<|endoftext|>"):
        yield f"{special}a{special} {special}\n{special * 3}"


def test_markers_inside_documents_stay_text_in_the_shards(
    tmp_path: Path, artifact: TrainedTokenizer, tokenizer: Tokenizer
) -> None:
    texts = list(markers())
    corpus = cleaned_corpus(tmp_path, {"s": [(f"s/{i}", t) for i, t in enumerate(texts)]})
    config = TokenizeConfig(validation_fraction=0)
    made = tokenize_corpus(config, corpus, artifact, root=tmp_path, runtime=Runtime())
    opened = Shards.open(shard_paths(made, "train"), verify="full")
    for i, text in enumerate(texts):
        ids = opened.document(i)[2].tolist()
        assert not set(ids[1:-1]) & set(tokenizer.specials.values())
        assert tokenizer.decode(ids[1:-1]) == text


def test_a_damaged_corpus_is_named_before_it_reaches_a_tokenizer(
    tmp_path: Path, artifact: TrainedTokenizer
) -> None:
    """A flipped byte that leaves no UTF-8 behind."""
    text = "unmistakable words in a document"
    corpus = cleaned_corpus(tmp_path, {"s": [("s/0", text)]})
    file = corpus.part_paths()[0] / "documents.arrow"
    data = file.read_bytes()
    file.write_bytes(data.replace(text.encode(), text.encode().replace(b"w", b"\xff", 1)))
    with pytest.raises(Exception, match=r"is damaged .*UTF8|is damaged .*UTF-8"):
        tokenize_corpus(TokenizeConfig(), corpus, artifact, root=tmp_path, runtime=Runtime())


def test_the_manifest_says_which_engine_made_the_shards(shards: TokenShards) -> None:
    engines = read_manifest(shards.path).facts["engines"]
    assert sum(engines.values()) == len(
        {(p.parent, p.name.split("-")[1]) for s in ("train", "validation")
         for p in shard_paths(shards, s)}  # type: ignore[arg-type]
    )  # fmt: skip
    assert all(name.split()[0] in ("tiktoken", "gigatoken") for name in engines)


def test_a_vocabulary_beyond_two_bytes_is_never_cut_to_them(tmp_path: Path) -> None:
    """The dtype follows the vocabulary, so the highest id of 70,000 comes back as it was."""
    from pipeline.tokens.patterns import PATTERNS
    from pipeline.tokens.shard_writer import TokenRow, write_shard
    from pipeline.tokens.tokenizer import with_our_specials

    ranks = {bytes([i]): i for i in range(256)} | {
        i.to_bytes(3, "big"): i for i in range(256, 70_000)
    }
    wide = with_our_specials("wide", PATTERNS["gpt2"], ranks)
    ids = np.array([0, 65_535, 65_536, 69_999], np.uint32)
    write_shard(tmp_path / "train-00000.arrow", [TokenRow("d", "s", ids)], wide)
    stored = Shards.open([tmp_path / "train-00000.arrow"]).document(0)[2]
    assert stored.tolist() == [70_000, 0, 65_535, 65_536, 69_999, 70_001]
