"""Looking at tokens: what a text becomes, and what lies in a set of shards.

Read by people through `mill tokenizer inspect` and `mill store shards`; nothing here is an input of
another stage.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.artifacts import TokenShards
from pipeline.store.errors import ArtifactError
from pipeline.tokens.compression import Measured
from pipeline.tokens.order import sample_ids
from pipeline.tokens.shards import SPLITS, Shards, Split, shard_paths
from pipeline.tokens.tokenizer import Tokenizer

BOUNDARY = "│"
BAR = 40  # characters of the longest bar
MEASURED_DOCUMENTS, MEASURED_TOKENS = 300, 2_000  # so much is decoded for the Han figure


@dataclass(frozen=True)
class ShownToken:
    """One token of an inspected text."""

    id: int
    bytes: bytes
    shown: str
    """Its text with line ends and other invisible characters escaped; broken UTF-8 as `\\xNN`."""


def inspect_tokenizer(tokenizer: Tokenizer, text: str) -> list[ShownToken]:
    """Each token of `text` with its id and bytes, in order."""
    ids = tokenizer.encode(text)
    return [ShownToken(i, tokenizer.token_bytes(i), show_token(tokenizer, i)) for i in ids]


def show_token(tokenizer: Tokenizer, token: int) -> str:
    """The token on one line: a space stays a space, other invisible characters are escaped."""
    text = tokenizer.token_bytes(token).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def show_tokens(tokenizer: Tokenizer, ids: Iterable[int]) -> str:
    """The tokens in one line with a mark between them."""
    return BOUNDARY.join(show_token(tokenizer, i) for i in ids)


def inspect_text(tokenizer: Tokenizer, text: str) -> str:
    """What `text` becomes, for a terminal: the marked line, then one row per token."""
    tokens = inspect_tokenizer(tokenizer, text)
    size = len(text.encode("utf-8", "surrogatepass"))
    rows = [f"{token.id:>7}  {token.bytes.hex(' '):<30}  {token.shown}" for token in tokens]
    return "\n".join([
        f"{len(tokens)} tokens, {size} bytes, {len(text)} characters",
        show_tokens(tokenizer, [token.id for token in tokens]),
        *rows,
    ])  # fmt: skip


def tokenizer_of(shards: TokenShards) -> Tokenizer:
    """The tokenizer the shards were made with, found under the same root."""
    references = [ref for ref in shards.manifest.inputs if ref.startswith("tokenizer@")]
    if len(references) != 1:
        raise ArtifactError(
            f"{shards.ref} names {len(references)} tokenizers in its manifest, not 1"
        )
    return Tokenizer.load(shards.root / "tokenizer" / references[0].removeprefix("tokenizer@"))


def shard_facts(
    shards: TokenShards, *, split: Split = "train", samples: int = 3, sample_tokens: int = 60
) -> dict[str, Any]:
    """Counts, document lengths and decoded samples of one split.

    Keys: files, documents, tokens, vocab_size, dtype, bytes_per_token, tokens_per_han_character
    (None without any in MEASURED_DOCUMENTS), length {minimum, median, mean, maximum}, histogram
    [{from, to, documents, tokens}] in powers of two, samples [{doc_id, source, tokens, text}] with
    a mark between tokens. Lengths count bos and eos.
    """
    opened = Shards.open(shard_paths(shards, split))
    tokenizer = tokenizer_of(shards)
    lengths = opened.document_lengths()
    wanted = min(max(samples, MEASURED_DOCUMENTS), len(lengths))
    chosen = sample_ids(0, 0, len(lengths), 0, wanted).tolist()
    measured = Measured()
    for i in chosen:
        ids = opened.document(i)[2][1 : 1 + MEASURED_TOKENS]
        words = ids[~np.isin(ids, list(tokenizer.specials.values()))]
        measured.add(tokenizer, tokenizer.decode(words.tolist()))
    shown = []
    for i in chosen[:samples]:
        doc_id, source, tokens = opened.document(i)
        text = show_tokens(tokenizer, tokens[:sample_tokens].tolist())
        shown.append({"doc_id": doc_id, "source": source, "tokens": len(tokens), "text": text})
    return {
        "files": len(opened.files),
        "documents": opened.num_documents,
        "tokens": opened.num_tokens,
        "vocab_size": opened.vocab_size,
        "dtype": np.dtype(opened.dtype).name,
        "bytes_per_token": shards.facts["bytes_per_token"],
        "tokens_per_han_character": measured.facts().get("tokens_per_han_character"),
        "length": {
            "minimum": int(lengths.min()),
            "median": float(np.median(lengths)),
            "mean": float(lengths.mean()),
            "maximum": int(lengths.max()),
        },
        "histogram": _histogram(lengths),
        "samples": shown,
    }


def describe_shards(shards: TokenShards, *, split: Split = "train", samples: int = 3) -> str:
    """`shard_facts` for a terminal, with the tokens of every source."""
    facts = shard_facts(shards, split=split, samples=samples)
    length, han = facts["length"], facts["tokens_per_han_character"]
    engines = ", ".join(shards.facts.get("engines", {})) or "tiktoken"
    lines = [
        f"{shards.ref} {split}: {facts['tokens']:,} tokens in {facts['documents']:,} documents, "
        f"{facts['files']} files, {facts['dtype']}",
        f"vocabulary {facts['vocab_size']:,}, {facts['bytes_per_token']} bytes per token"
        + (f", {han} tokens per Han character" if han is not None else "")
        + f", encoded by {engines}",
        *(
            f"{name}: {shards.facts[f'{name}_tokens']:,} tokens in "
            f"{shards.facts[f'{name}_documents']:,} documents"
            for name in SPLITS
            if name != split
        ),
        f"tokens per document: {length['minimum']} to {length['maximum']:,}, median "
        f"{length['median']:,.0f}, mean {length['mean']:,.0f}",
    ]
    most = max(row["documents"] for row in facts["histogram"])
    for row in facts["histogram"]:
        bar = "█" * round(BAR * row["documents"] / most)
        lines.append(f"{row['from']:>10,} to {row['to']:>10,}  {row['documents']:>8,}  {bar}")
    for source, counts in sorted(shards.facts["sources"].items()):
        lines.append(
            f"{source}: {counts['tokens']:,} tokens, {counts['documents']:,} documents (all splits)"
        )
    for sample in facts["samples"]:
        lines += ["", f"{sample['doc_id']} ({sample['source']}, {sample['tokens']:,} tokens)"]
        lines.append(sample["text"])
    return "\n".join(lines)


def _histogram(lengths: np.ndarray) -> list[dict[str, int]]:
    exponents = np.floor(np.log2(lengths)).astype(int)
    rows = []
    for exponent in range(int(exponents.min()), int(exponents.max()) + 1):
        inside = lengths[exponents == exponent]
        rows.append({
            "from": 1 << exponent,
            "to": (2 << exponent) - 1,
            "documents": len(inside),
            "tokens": int(inside.sum()),
        })  # fmt: skip
    return rows
