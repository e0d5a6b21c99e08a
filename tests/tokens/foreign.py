"""Tokenizers as other models bring them, made with the package their makers use."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, trainers

# As in the tokenizer.json of Llama 3 and of Qwen 2 and 3.
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
TEXTS = (
    "The Zen of Python: beautiful is better than ugly, explicit is better than implicit.",
    "Errors should never pass silently. Unless explicitly silenced, at 1234 or 5678.",
    "def add(a, b):\n    return a + b\n\nfor i in range(10):\n    print(i, end=' ')\n",
    "我们去公园散步，天气很好。 Déjà vu, naïve café; c'est l'été, n'est-ce pas?",
)


def gpt2_like() -> tokenizers.Tokenizer:
    """GPT-2: its own split, one special token at the end."""
    made = _trained(pre_tokenizers.ByteLevel(add_prefix_space=False))
    made.add_special_tokens(["<|endoftext|>"])
    return made


def llama3_like() -> tokenizers.Tokenizer:
    """Llama 3: whole words without merging, reserved tokens behind the vocabulary."""
    made = _trained(_split(LLAMA3))
    made.model.ignore_merges = True
    made.add_special_tokens(
        ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|eot_id|>"]
    )
    return made


def qwen_like() -> tokenizers.Tokenizer:
    """Qwen: NFC, single digits, some added tokens that are not marked special."""
    made = _trained(_split(QWEN))
    made.normalizer = normalizers.NFC()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made.add_tokens(["<tool_call>", "</tool_call>"])
    return made


def trained_with_specials() -> tokenizers.Tokenizer:
    """A trainer's default: special tokens have the first ids."""
    return _trained(_split(LLAMA3), specials=("<unk>", "<|startoftext|>", "<|stop|>"))


def smollm_like() -> tokenizers.Tokenizer:
    """SmolLM: digits apart, then GPT-2's split; special tokens first."""
    digits = pre_tokenizers.Digits(individual_digits=True)
    cut = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return _trained(cut, specials=("<|endoftext|>", "<|im_start|>", "<|im_end|>"))


def save(made: tokenizers.Tokenizer, directory: Path, **config: object) -> Path:
    """`tokenizer.json`, and `tokenizer_config.json` with `config` in it."""
    directory.mkdir(parents=True, exist_ok=True)
    made.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory


KINDS: dict[str, tuple[Callable[[], tokenizers.Tokenizer], dict[str, str | None]]] = {
    "gpt2": (gpt2_like, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}),
    "llama3": (llama3_like, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}),
    "qwen": (
        qwen_like,
        {"bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    ),
    "smollm": (smollm_like, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}),
    "low": (trained_with_specials, {"bos_token": "<|startoftext|>", "eos_token": "<|stop|>"}),
}


def _split(regex: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(regex), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip


def _trained(
    cut: pre_tokenizers.PreTokenizer, *, specials: Sequence[str] = ()
) -> tokenizers.Tokenizer:
    made = tokenizers.Tokenizer(models.BPE())
    made.pre_tokenizer = cut
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    made.train_from_iterator(TEXTS * 3, trainer)
    return made
