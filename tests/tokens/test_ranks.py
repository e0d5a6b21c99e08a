import base64

import pytest

from pipeline.stages.train_tokenizer import (
    RANKS_FOLDER,
    PublishedTokenizerConfig,
    published_specials,
    train_tokenizer,
)
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.files import sha256_bytes
from pipeline.store.runtime import Runtime
from pipeline.tokens import ranks as published
from pipeline.tokens.merges import format_ranks, merge_of, parse_ranks
from pipeline.tokens.ranks import CACHE_NAMES, PUBLICATIONS, Publication, find_ranks, import_ranks
from pipeline.tokens.tokenizer import Tokenizer

SMALL = {bytes([i]): i for i in range(256)} | {b"he": 256, b"ll": 257, b"hell": 258}


@pytest.fixture
def small(monkeypatch):
    """A small publication in the place of cl100k_base; ids 259 to 261 are unused."""
    data = format_ranks(SMALL)
    specials = {"<|endoftext|>": 262, "<|fim_prefix|>": 265}
    publication = Publication("cl100k_base", sha256_bytes(data), "cl100k", specials)
    monkeypatch.setitem(PUBLICATIONS, "cl100k_base", publication)
    return data


def test_published_encoding_is_found_in_a_cache_folder_and_left_alone(small, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / CACHE_NAMES["cl100k_base"]).write_bytes(small)
    config = PublishedTokenizerConfig(name="cl100k_base", file=str(cache))
    artifact = train_tokenizer(config, None, root=tmp_path, runtime=Runtime())
    tokenizer = Tokenizer.load(artifact.path)
    assert tokenizer.encode("hello") == [258, ord("o")]
    assert tokenizer.bos == tokenizer.eos == 262
    assert (tokenizer.pad, tokenizer.end, tokenizer.vocab_size) == (266, 270, 271)
    assert tokenizer.decode([260]) == "\ufffd"
    assert (cache / CACHE_NAMES["cl100k_base"]).read_bytes() == small


def test_identity_of_a_published_encoding_is_its_ranks(small, tmp_path):
    (tmp_path / "mine.tiktoken").write_bytes(small)
    by_file = PublishedTokenizerConfig(name="cl100k_base", file=str(tmp_path / "mine.tiktoken"))
    first = train_tokenizer(by_file, None, root=tmp_path, runtime=Runtime())
    (tmp_path / "mine.tiktoken").unlink()
    again = PublishedTokenizerConfig(name="cl100k_base")
    assert train_tokenizer(again, None, root=tmp_path, runtime=Runtime()) == first


def test_imported_ranks_are_found_without_a_setting(small, tmp_path):
    (tmp_path / "download").mkdir()
    (tmp_path / "download" / "some-name").write_bytes(small)
    (tmp_path / "download" / "unrelated").write_bytes(b"something else")
    imported = import_ranks(tmp_path / "download", tmp_path / RANKS_FOLDER)
    assert [item.name for item in imported] == ["cl100k_base"]
    config = PublishedTokenizerConfig(name="cl100k_base")
    assert train_tokenizer(config, None, root=tmp_path, runtime=Runtime()).vocab_size == 271
    assert (tmp_path / "download" / "some-name").read_bytes() == small


def test_a_cache_folder_named_by_the_caller_is_searched(small, tmp_path):
    """What TIKTOKEN_CACHE_DIR names, for one."""
    cache = tmp_path / "elsewhere"
    cache.mkdir()
    (cache / CACHE_NAMES["cl100k_base"]).write_bytes(small)
    config = PublishedTokenizerConfig(name="cl100k_base")
    made = train_tokenizer(
        config, None, root=tmp_path, runtime=Runtime(), ranks_folders=[tmp_path / "none", cache]
    )
    assert made.vocab_size == 271


def test_missing_ranks_name_file_hash_and_setting(tmp_path):
    with pytest.raises(ConfigError) as caught:
        find_ranks("o200k_base", [tmp_path])
    message = str(caught.value)
    for part in (PUBLICATIONS["o200k_base"].sha256, CACHE_NAMES["o200k_base"], "tokenizer.file"):
        assert part in message


def test_wrong_ranks_are_refused_by_hash_and_not_deleted(tmp_path):
    wrong = tmp_path / CACHE_NAMES["r50k_base"]
    wrong.write_bytes(b"not the ranks")
    with pytest.raises(ConfigError, match=sha256_bytes(b"not the ranks")):
        find_ranks("gpt2", [tmp_path])
    assert wrong.read_bytes() == b"not the ranks"
    with pytest.raises(DataError, match="no published ranks"):
        import_ranks(wrong, tmp_path / "ranks")


def test_gpt2_merges_become_ranks():
    """The same ranks from GPT-2's `vocab.bpe` as from a `.tiktoken` file."""
    data = published._from_merges("#version: 0.2\nh e\nĠ t\n".encode())
    ranks = parse_ranks(data, where="vocab.bpe")
    assert (ranks[b"!"], ranks[b"\x00"], ranks[b" "]) == (0, 188, 220)
    assert (ranks[b"he"], ranks[b" t"]) == (256, 257)


def test_specials_of_a_published_encoding_keep_their_ids():
    specials, roles = published_specials(PUBLICATIONS["r50k_base"].specials)
    assert specials["<|endoftext|>"] == 50256
    assert specials["<|pad|>"] == 50257
    assert roles["<|bos|>"] == roles["<|eos|>"] == "<|endoftext|>"


@pytest.mark.parametrize("line", [b"aGU=", b"aGU= x", b"!! 256", b"aGU= 300"])
def test_malformed_ranks_are_refused(line):
    whole = format_ranks({bytes([i]): i for i in range(256)})
    with pytest.raises(DataError, match="ranks.txt"):
        parse_ranks(whole + line + b"\n", where="ranks.txt")


def test_ranks_without_every_byte_are_refused():
    lines = b"".join(base64.b64encode(bytes([i])) + b" %d\n" % i for i in range(255))
    with pytest.raises(DataError, match="lacks 1 single bytes, first 0xff"):
        parse_ranks(lines, where="ranks.txt")


def test_merge_of_a_token_is_the_last_one_made_within_it():
    assert merge_of(b"hell", SMALL) == (b"he", b"ll")
    assert merge_of(b"hexy", SMALL | {b"hexy": 259}) is None
