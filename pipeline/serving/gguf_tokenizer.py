"""A byte-level tokenizer in a GGUF file: vocabulary, merges, special tokens, chat template.

llama.cpp knows splits by name only, so a pattern it has no name for is refused.
"""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json
from pipeline.tokens.patterns import PATTERNS, PatternName, for_huggingface

SPLITS: Mapping[PatternName, str] = {"gpt2": "gpt-2", "cl100k": "llama-bpe", "o200k": "gpt-4o"}
"""Pattern -> llama.cpp's name for the same split (llama-vocab.cpp). llama-bpe takes a whole word of
the vocabulary without merging, as tiktoken does."""


def add_tokenizer(
    gguf: ModuleType, writer: Any, hf: Path, facts: Mapping[str, Any], *, vocab_size: int
) -> None:
    """Write what `tokenizer.json` and `gristmill.json` say; ConfigError for an unknown split."""
    document = read_json(hf / "tokenizer.json")
    model = document["model"]
    if model["type"] != "BPE":
        raise ConfigError(f"{hf} has a {model['type']} tokenizer; only byte-level BPE is converted")
    specials = {int(t["id"]): t["content"] for t in document["added_tokens"] if t.get("special")}
    by_id = {int(i): text for text, i in model["vocab"].items()}
    by_id |= {int(t["id"]): t["content"] for t in document["added_tokens"]}
    if by_id and max(by_id) >= vocab_size:
        raise ArtifactError(f"{hf}: id {max(by_id)} is beyond the model's vocabulary, {vocab_size}")
    tokens, kinds = [], []
    for i in range(vocab_size):
        tokens.append(by_id.get(i, f"[unused{i}]"))  # rows of the embedding that no token has
        kind = "CONTROL" if i in specials else "NORMAL" if i in by_id else "UNUSED"
        kinds.append(int(gguf.TokenType[kind]))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_split(document, hf))
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    )
    _add_roles(writer, hf, facts)


def _split(document: Mapping[str, Any], hf: Path) -> str:
    steps = document["pre_tokenizer"].get("pretokenizers", [document["pre_tokenizer"]])
    patterns = [step["pattern"].get("Regex") for step in steps if step["type"] == "Split"]
    for name, split in SPLITS.items():
        if patterns == [for_huggingface(PATTERNS[name])]:
            return split
    raise ConfigError(
        f"{hf}: llama.cpp has no split like this tokenizer's and would cut text otherwise; train "
        f"with tokenizer.pattern one of {', '.join(SPLITS)} (this one: {patterns!r:.120})"
    )


def _add_roles(writer: Any, hf: Path, facts: Mapping[str, Any]) -> None:
    config = read_json(hf / "config.json")
    ids = facts.get("ids", {})
    writer.add_bos_token_id(int(ids.get("bos", config["bos_token_id"])))
    writer.add_eos_token_id(int(ids.get("eos", config["eos_token_id"])))
    pad = ids.get("pad", config.get("pad_token_id"))
    if pad is not None:
        writer.add_pad_token_id(int(pad))
    if facts.get("message_form") == "chat" and facts.get("prompt_form") == "answer":
        writer.add_eot_token_id(int(ids["end"]))
    # A base model continues after bos; a tuned one writes bos itself, where its answer begins.
    writer.add_add_bos_token(facts.get("prompt_form", "continue") == "continue")
    writer.add_add_eos_token(False)
    template = hf / "chat_template.jinja"
    if template.is_file():
        writer.add_chat_template(template.read_text(encoding="utf-8"))
