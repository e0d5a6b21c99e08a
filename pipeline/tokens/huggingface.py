"""The tokenizer as a Hugging Face directory: `AutoTokenizer.from_pretrained` needs no code of ours.

It encodes text exactly as tiktoken does, adds no special token by itself, and renders conversations
with our template. One difference is theirs by design: a special token's text *is* the special token
there, unless `split_special_tokens=True`.
"""

from pathlib import Path
from typing import Any

from pipeline.store.files import write_json
from pipeline.tokens.chat_template import conversation_template
from pipeline.tokens.merges import merge_of
from pipeline.tokens.patterns import for_huggingface
from pipeline.tokens.ranks import byte_alphabet
from pipeline.tokens.tokenizer import (
    BOS,
    EOS,
    MASK,
    PAD,
    SENTINEL,
    SPECIALS,
    Tokenizer,
    is_sentinel,
)

MODEL_MAX_LENGTH = 1_000_000_000  # "no limit of the tokenizer's own"; the model's is in its config


def write_huggingface(tokenizer: Tokenizer, directory: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` into `directory`."""
    write_json(directory / "tokenizer.json", tokenizer_document(tokenizer))
    write_json(directory / "tokenizer_config.json", config_document(tokenizer))


def tokenizer_document(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of `tokenizer.json`: split, byte-level alphabet, BPE, nothing after."""
    alphabet = byte_alphabet()

    def spelt(token: bytes) -> str:
        return "".join(alphabet[byte] for byte in token)

    ordered = sorted(tokenizer.ranks, key=tokenizer.ranks.__getitem__)
    pairs = [merge_of(token, tokenizer.ranks) for token in ordered if len(token) > 1]
    specials = sorted(tokenizer.specials.items(), key=lambda item: item[1])
    # Special tokens stand in the vocabulary too: their ids hold even where the ids below have gaps.
    vocab = {spelt(token): tokenizer.ranks[token] for token in ordered} | dict(specials)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(text, i) for text, i in specials],
        "normalizer": {"type": tokenizer.normalizer} if tokenizer.normalizer else None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": for_huggingface(tokenizer.pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                _byte_level(),
            ],
        },
        "post_processor": None,
        "decoder": _byte_level(),
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # Some vocabularies have tokens that no merges make; tiktoken takes them as whole words.
            "ignore_merges": None in pairs,
            "vocab": vocab,
            "merges": [[spelt(left), spelt(right)] for left, right in filter(None, pairs)],
        },
    }


def config_document(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of `tokenizer_config.json`, chat template included."""
    named = {tokenizer.roles[role] for role in (BOS, EOS, PAD)}
    others = [tokenizer.roles[role] for role in SPECIALS if tokenizer.roles[role] not in named]
    others += [SENTINEL.format(number) for number in range(len(tokenizer.sentinels))]
    # bos and eos stand where BERT has its own two: around a text, for those who encode two.
    bert = {
        "mask_token": MASK,
        "cls_token": tokenizer.roles[BOS],
        "sep_token": tokenizer.roles[EOS],
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokenizer.roles[BOS],
        "eos_token": tokenizer.roles[EOS],
        "pad_token": tokenizer.roles[PAD],
        **(bert if tokenizer.has_mask else {}),
        "additional_special_tokens": others,
        "added_tokens_decoder": {
            str(i): {key: value for key, value in _added(text, i).items() if key != "id"}
            for text, i in tokenizer.specials.items()
        },
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": MODEL_MAX_LENGTH,
        "chat_template": conversation_template(tokenizer.specials),
    }


def before_eos(tokenizer: Tokenizer) -> dict[str, Any]:
    """The post-processor of an encoder-decoder's `tokenizer.json`: `text eos`, as T5 does."""
    eos = tokenizer.roles[EOS]
    ends = {"SpecialToken": {"id": eos, "type_id": 0}}

    def sequence(name: str) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": 0}}

    return {
        "type": "TemplateProcessing",
        "single": [sequence("A"), ends],
        "pair": [sequence("A"), ends, sequence("B"), ends],
        "special_tokens": {eos: {"id": eos, "ids": [tokenizer.specials[eos]], "tokens": [eos]}},
    }


def between_bos_and_eos(tokenizer: Tokenizer) -> dict[str, Any]:
    """The post-processor of an encoder's `tokenizer.json`: `bos text eos`, and for two `bos a eos b
    eos`, the second of type 1, as BERT does.
    """
    bos, eos = tokenizer.roles[BOS], tokenizer.roles[EOS]

    def special(text: str, kind: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": text, "type_id": kind}}

    def sequence(name: str, kind: int) -> dict[str, Any]:
        return {"Sequence": {"id": name, "type_id": kind}}

    single = [special(bos, 0), sequence("A", 0), special(eos, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, sequence("B", 1), special(eos, 1)],
        "special_tokens": {
            text: {"id": text, "ids": [tokenizer.specials[text]], "tokens": [text]}
            for text in (bos, eos)
        },
    }


def _added(text: str, i: int) -> dict[str, Any]:
    return {
        "id": i,
        "content": text,
        "single_word": False,
        "lstrip": text == MASK or is_sentinel(text),  # " <|mask|>" is one token, like " word"
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _byte_level() -> dict[str, Any]:
    return {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": False,
        "use_regex": False,
    }
