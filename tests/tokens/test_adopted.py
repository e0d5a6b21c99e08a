"""Tokenizers of other models: the same ids for every text, or a clear line that says why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import normalizers

from pipeline.stages.train_tokenizer import HuggingFaceTokenizerConfig, train_tokenizer
from pipeline.store.errors import ConfigError, DataError
from pipeline.store.runtime import Runtime
from pipeline.tokens.adopted import adopt, identity
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.nasty import nasty_strings
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.tokenizer import ASSISTANT, BOS, EOS, PAD, SPECIALS, Tokenizer
from tests.tokens.foreign import KINDS, TEXTS, gpt2_like, qwen_like, save

DECOMPOSED = "De\u0301ja\u0300 vu: A\u030a, 가 \u1100\u1161, \u0344"


@pytest.fixture(params=KINDS)
def theirs(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, tokenizers.Tokenizer]:
    make, config = KINDS[request.param]
    made = make()
    return save(made, tmp_path / request.param, **config), made


def plain_texts() -> list[str]:
    hard = [data.decode() for data in nasty_strings()]
    return [*TEXTS, DECOMPOSED, *(text for text in hard if "<|" not in text)]


def test_every_text_has_their_ids_here_in_the_artifact_and_in_the_export(
    theirs: tuple[Path, tokenizers.Tokenizer], tmp_path: Path
) -> None:
    directory, original = theirs
    config = HuggingFaceTokenizerConfig(path=str(directory))
    artifact = train_tokenizer(config, None, root=tmp_path, runtime=Runtime())
    ours = Tokenizer.load(artifact.path)
    exported = tokenizers.Tokenizer.from_file(str(artifact.path / "hf" / "tokenizer.json"))
    for text in plain_texts():
        ids = original.encode(text, add_special_tokens=False).ids
        assert ours.encode(text) == ids
        assert exported.encode(text, add_special_tokens=False).ids == ids
        assert ours.decode(ids) == original.decode(ids)
    assert (
        ours.specials.items()
        >= {token.content: i for i, token in original.get_added_tokens_decoder().items()}.items()
    )
    more = [i for text, i in ours.specials.items() if original.token_to_id(text) is None]
    assert sorted(more) == [*range(original.get_vocab_size(), ours.vocab_size)]


@pytest.mark.parametrize("theirs", ["qwen", "low"], indirect=True)
def test_our_export_adopted_again_is_the_same_tokenizer(
    theirs: tuple[Path, tokenizers.Tokenizer], tmp_path: Path
) -> None:
    first = adopt(theirs[0])
    write_huggingface(first, tmp_path / "again")
    again = adopt(tmp_path / "again")
    assert again.sha256 == first.sha256
    assert (again.specials, again.roles) == (first.specials, first.roles)
    assert again.vocab_size == first.vocab_size


def test_roles_are_as_configured_and_ours_come_last(tmp_path: Path) -> None:
    make, config = KINDS["qwen"]
    ours = adopt(save(make(), tmp_path, **config))
    assert ours.roles[EOS] == ours.roles[BOS] == "<|im_end|>"
    assert ours.roles[PAD] == "<|endoftext|>"
    assert ours.assistant == ours.specials[ASSISTANT] > max(ours.ranks.values())
    assert ours.encode("<|im_end|>") != [ours.eos]  # text never becomes a special token
    assert ours.encode("<tool_call>") != [ours.specials["<tool_call>"]]


def test_splits_we_know_are_kept_in_our_spelling(tmp_path: Path) -> None:
    assert adopt(save(gpt2_like(), tmp_path)).pattern == PATTERNS["gpt2"]


def test_identity_is_of_the_content_and_a_finished_artifact_is_reused(tmp_path: Path) -> None:
    keys = []
    for name in ("here", "there"):
        directory = save(gpt2_like(), tmp_path / name, eos_token="<|endoftext|>")
        config = HuggingFaceTokenizerConfig(path=str(directory))
        keys.append(train_tokenizer(config, None, root=tmp_path, runtime=Runtime()))
        (directory / "README.md").write_text("something else")
    assert keys[0] == keys[1]
    before = identity(directory)
    save(gpt2_like(), directory, eos_token="<|endoftext|>", chat_template="{{ 'other' }}")
    assert identity(directory) == before
    (directory / "config.json").write_text('{"pad_token_id": 0}')
    assert identity(directory) != before
    more = config.model_copy(update={"mask": True, "more_specials": ("<|tool|>",)})
    grown = Tokenizer.load(train_tokenizer(more, None, root=tmp_path, runtime=Runtime()).path)
    assert grown.mask == keys[0].vocab_size and grown.vocab_size == keys[0].vocab_size + 2


def test_eos_is_found_where_only_the_model_names_it(tmp_path: Path) -> None:
    made = qwen_like()
    save(made, tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    stop = made.token_to_id("<|im_end|>")
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [stop, 3]}))
    assert adopt(tmp_path).eos == stop


Change = Callable[[dict[str, Any]], object]
REFUSED: dict[str, tuple[Change, type[Exception], str]] = {
    "unigram": (lambda d: d["model"].update(type="Unigram"), ConfigError, "Unigram model"),
    "wordpiece": (lambda d: d["model"].update(type="WordPiece"), ConfigError, "WordPiece model"),
    "sentencepiece": (lambda d: d["model"].update(byte_fallback=True), ConfigError, "byte_fallb"),
    "letters": (lambda d: d["model"]["vocab"].update({"▁the": 402}), ConfigError, "no byte-level"),
    "lowercase": (lambda d: d.update(normalizer={"type": "Lowercase"}), ConfigError, "Lowercase"),
    "no split": (lambda d: d.update(pre_tokenizer=None), ConfigError, "one regular expression"),
    "prefix": (
        lambda d: d["pre_tokenizer"].update(add_prefix_space=True), ConfigError, "other ids",
    ),
    "order": (lambda d: d["model"]["merges"].reverse(), ConfigError, "order of its ids"),
    "missing merge": (lambda d: d["model"]["merges"].pop(), ConfigError, "order of its ids"),
    "spaces": (
        lambda d: d["added_tokens"].append({"id": 401, "content": "  ", "special": False}),
        ConfigError, "ordinary text",
    ),
    "no eos": (
        lambda d: d["added_tokens"][0].update(content="<other>"), ConfigError, "names no eos_token",
    ),
    "hole": (lambda d: d["model"]["vocab"].pop("!"), DataError, "does not hold the ranks"),
    "no vocabulary": (lambda d: d["model"].pop("vocab"), DataError, "damaged"),
    "a list": (lambda d: d.update(added_tokens=[3]), DataError, "damaged"),
    "doubled": (
        lambda d: d["added_tokens"].append({"id": 3, "content": "<x>"}), DataError, "one id",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    change, error, message = REFUSED[name]
    save(gpt2_like(), tmp_path)
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    change(document)
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(error, match=message) as caught:
        adopt(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_an_eos_that_the_tokenizer_lacks_is_not_replaced_by_another(tmp_path: Path) -> None:
    save(gpt2_like(), tmp_path, eos_token="</s>")
    with pytest.raises(ConfigError, match="names no eos_token that"):
        adopt(tmp_path)


def test_missing_and_half_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no tokenizer\.json"):
        identity(tmp_path)
    save(gpt2_like(), tmp_path)
    whole = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        adopt(tmp_path)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(DataError, match="damaged"):
        adopt(tmp_path)
    (tmp_path / "tokenizer.json").write_text(whole)
    (tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(DataError, match="tokenizer_config"):
        adopt(tmp_path)


def test_more_than_nfc_is_refused(tmp_path: Path) -> None:
    made = qwen_like()
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    with pytest.raises(ConfigError, match="NFC, Lowercase"):
        adopt(save(made, tmp_path))
    assert set(SPECIALS) <= set(adopt(save(qwen_like(), tmp_path)).roles)
