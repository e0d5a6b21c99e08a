"""Pseudo-perplexity of a masked model: each token hidden in turn and predicted from both sides.

    the | cat | sleep | ing        hidden        given
    [M]   cat   sleep   ing        the           everything else
    the   [M]   sleep   ing        cat           everything else
    the   cat   [M]     [M]        sleep         all but the rest of its word
    the   cat   sleep   [M]        ing           everything else

Salazar et al. 2020 (arXiv 1910.14659) hide one token at a time; the rest of a word would give its
beginning away, so it is hidden too (PLL-word-l2r, Kauf and Ivanova 2023, arXiv 2305.10588). Every
token is given what comes after it: no figure here compares with one of a causal model. Longer
documents are cut into pieces of a context, each between bos and eos; neither is scored.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch.nn import functional as F

from model.language_model import LanguageModel
from pipeline.conversations.splits import unit_hash
from pipeline.evals.document_scores import DocumentScores
from pipeline.evals.perplexity import ByteTokenizer, byte_counts, languages_in, words_in
from pipeline.evals.scoring import BATCH_TOKENS
from pipeline.store.errors import DataError, TrainingError

PSEUDO = (
    "pseudo-perplexity: each token is given both sides, one hidden at a time with the rest of its "
    "word; comparable among masked models only"
)
PSEUDO_BYTES = 20_000  # a token costs a whole row: a guess at a minute on one core


def is_masked(model: LanguageModel) -> bool:
    """Whether the model sees both sides, so that its plain next-token loss means nothing."""
    return bool(model.config.attention == "bidirectional")


def documents_within(
    documents: Mapping[str, Sequence[str]], max_bytes: int, *, seed: int
) -> dict[str, list[str]]:
    """Documents drawn by hash until one exceeds `max_bytes` in all; at least one, in order.

    Bytes, not tokens: models of other tokenizers are scored on the same documents.
    """
    texts = documents["text"]
    rows = [i for i, text in enumerate(texts) if text]
    rows.sort(key=lambda i: unit_hash(seed, "pseudo", documents["doc_id"][i], texts[i]))
    total = 0
    chosen: list[int] = []
    for i in rows:
        total += len(texts[i].encode())
        if chosen and total > max_bytes:
            break
        chosen.append(i)
    return {name: [values[i] for i in sorted(chosen)] for name, values in documents.items()}


def score_masked_documents(
    model: LanguageModel,
    tokenizer: ByteTokenizer,
    documents: Mapping[str, Sequence[str]],
    *,
    mask: int,
    context: int,
    batch_tokens: int = BATCH_TOKENS,
) -> DocumentScores:
    """Pseudo-nats of the columns `doc_id, text, source`; every text token exactly once.

    `mask` is the id that hides a token.

    DataError for an eval set without text, and when tokens and text differ in bytes.
    """
    texts = documents["text"]
    if not any(texts):
        raise DataError("the eval set holds no text; raise eval_set.max_bytes or add documents")
    if context < 3:
        raise DataError(f"a context of {context} has no room for bos, a token and eos")
    sequences = [
        np.array([tokenizer.bos, *tokenizer.encode(text), tokenizer.eos], np.int64)
        for text in texts
    ]
    num_bytes = byte_counts(documents["doc_id"], texts, sequences, tokenizer)
    nats = []
    for doc_id, text, ids in zip(documents["doc_id"], texts, sequences, strict=True):
        words = token_words(text, ids[1:-1].tolist(), tokenizer)
        found = pseudo_nats(model, ids, words, mask, context=context, batch_tokens=batch_tokens)
        if not np.isfinite(found).all():
            raise TrainingError(
                f"document {doc_id!r} has a loss that is not finite: the weights are damaged or "
                "training diverged; use an earlier checkpoint or a lower learning rate"
            )
        assert len(found) == len(ids) - 2
        nats.append(math.fsum(found))
    return DocumentScores(
        doc_ids=tuple(documents["doc_id"]),
        sources=tuple(documents["source"]),
        languages=languages_in(documents),
        nats=np.array(nats),
        tokens=np.array([len(ids) - 2 for ids in sequences], np.int64),
        num_bytes=num_bytes,
        words=words_in(texts),
        eos_nats=np.zeros(len(texts)),
    )


def pseudo_nats(
    model: LanguageModel,
    ids: np.ndarray,
    words: np.ndarray,
    mask: int,
    *,
    context: int,
    batch_tokens: int = BATCH_TOKENS,
) -> np.ndarray:
    """(n,) nats of the n tokens between bos and eos of `ids`; `words` (n,) numbers their words."""
    was_training = model.training
    model.eval()
    size = context - 2
    try:
        with torch.inference_mode():
            pieces = [
                _piece_nats(
                    model,
                    np.concatenate([ids[:1], ids[1:-1][start : start + size], ids[-1:]]),
                    words[start : start + size],
                    mask,
                    batch_tokens,
                )
                for start in range(0, len(ids) - 2, size)
            ]
    finally:
        model.train(was_training)
    return np.concatenate([np.zeros(0), *pieces])


def _piece_nats(
    model: LanguageModel, row: np.ndarray, words: np.ndarray, mask: int, batch_tokens: int
) -> np.ndarray:
    """Rows of one length, so that nothing is padded."""
    count = len(words)
    hidden = np.tile(row, (count, 1))  # (n, T) one row per hidden token
    for i in range(count):
        rest = np.flatnonzero(words[i:] != words[i])
        end = i + (int(rest[0]) if len(rest) else count - i)
        hidden[i, i + 1 : end + 1] = mask
    targets = torch.from_numpy(row[1:-1].copy()).to(model.device)
    places = torch.arange(1, count + 1, device=model.device)
    nats = []
    step = max(1, batch_tokens // len(row))
    for start in range(0, count, step):
        part = slice(start, start + step)
        states = model.hidden(torch.from_numpy(hidden[part]).to(model.device))  # (R, T, D)
        at = states[torch.arange(len(states), device=model.device), places[part]]
        loss = F.cross_entropy(model.logits(at).float(), targets[part], reduction="none")
        nats.append(loss.double().cpu().numpy())
    return np.concatenate(nats)


def token_words(text: str, tokens: Sequence[int], tokenizer: ByteTokenizer) -> np.ndarray:
    """(n,) number of the word each token belongs to, by its first byte that is no white space.

    A word is a run of letters and digits; a full-width character is one by itself, and so is
    everything else.
    """
    word_of_byte: list[int] = []
    word, joins = -1, False
    for character in text:
        narrow = unicodedata.east_asian_width(character) not in ("W", "F")
        letter = (character.isalnum() or unicodedata.combining(character) > 0) and narrow
        if not (letter and joins):
            word += 1
        joins = letter
        word_of_byte += [word] * len(character.encode())
    words, at = np.zeros(len(tokens), np.int64), 0
    for i, token in enumerate(tokens):
        data = tokenizer.token_bytes(token)
        lead = len(data) - len(data.lstrip(b" \t\r\n"))
        words[i] = word_of_byte[at + (lead if lead < len(data) else 0)]
        at += len(data)
    return words
