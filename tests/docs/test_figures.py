"""The figures of the two READMEs are those of the committed results: medians, rounded as shown."""

import re
import statistics

import pytest

from benchmarks.results_file import RESULTS, Row, read_result
from tests.docs.pages import text

PAGES = ("README.md", "docs/README.zh-CN.md")
OURS = None
_TRAINING = "config B, GPT-2 shape, bfloat16"
_BATCH = "batch of 8 x 1,024, shuffled, with document boundaries"
_EPOCHS = "50,000 unique ids, {} passes: lowest validation"
_SECONDS = "documentation, validation after {} s"
_WHOLE = "FineWeb filters, whole command, one core, own words"
_MINHASH = "MinHash 14 x 8, word 5-grams, 64 bits, whole command, one core"
_TIKTOKEN = "plain tiktoken, one process per file"
_SHARDS = "ours, {} (plain tiktoken, one process per file)"
_SCORING = "text scored per second, one document set, float32"
_HARNESS = "lm-evaluation-harness, batch 1 (as shipped)"
_CHARACTERS = "Shakespeare by character, training until nanoGPT's final loss"
_HELD_OUT = "pages, {}: bits per byte, held-out clean text"

# result, case, peer (whose figure it is; OURS), how it is written
FIGURES = [
    ("cleaning", _WHOLE, OURS, ".1f"), ("cleaning", _WHOLE, "datatrove", ".2f"),
    ("dedup", _MINHASH, OURS, ".1f"), ("dedup", _MINHASH, "datatrove", ".2f"),
    ("personal_data", "e-mail and IP addresses", OURS, ".0f"),
    ("personal_data", "e-mail and IP addresses", "datatrove", ".1f"),
    ("million_documents", "peak memory of the largest process", OURS, ".0f"),
    ("train_cpu", _TRAINING, OURS, ",.0f"), ("train_cpu", _TRAINING, "nanogpt", ",.0f"),
    ("train_cpu", _TRAINING, "litgpt", ",.0f"), ("train_cpu", _TRAINING, "huggingface", ",.0f"),
    ("train_cpu", _TRAINING, "nanoGPT compiled", ",.0f"),
    ("train_cpu", _TRAINING, "nanoGPT as shipped (float32)", ",.0f"),
    ("train_loss", _CHARACTERS, OURS, ".1f"),
    ("train_loss", _CHARACTERS, "nanoGPT, its CPU setting", ".1f"),
    *(
        (f"train_documentation_{n}s", _SECONDS.format(n), peer, ".3f")
        for n in (60, 150, 300)
        for peer in (OURS, "nanoGPT, same shape, bfloat16", "Hugging Face, same shape, bfloat16")
    ),
    *(
        ("train_epochs", _EPOCHS.format(n), peer, ".3f")
        for n in (1, 4, 16)
        for peer in (OURS, "nanoGPT, same size", "train_gpt_simple.py, same size")
    ),
    ("sft", "fine-tuning speed", OURS, ",.0f"),
    ("sft", "fine-tuning speed", "TRL, padding-free", ",.0f"),
    ("sft", "fine-tuning speed", "TRL, grouped", ",.0f"),
    ("evaluate", _SCORING, OURS, ".0f"), ("evaluate", _SCORING, _HARNESS, ".0f"),
    ("tokenizer_training", "a vocabulary of 32,768 from 94 MB", OURS, ".1f"),
    ("tokenizer_training", "a vocabulary of 32,768 from 94 MB", "rustbpe alone, reading included",
     ".1f"),
    ("tokenizing", _SHARDS.format("gigatoken"), OURS, ".0f"),
    ("tokenizing", _SHARDS.format("tiktoken"), OURS, ".0f"),
    ("tokenizing", _SHARDS.format("tiktoken"), _TIKTOKEN, ".0f"),
    ("loader", _BATCH, OURS, ".0f"), ("loader", _BATCH, "litdata, shuffled", ".0f"),
    ("loader", _BATCH, "grain MapDataset, shuffled", ".0f"),
    ("loader", _BATCH, "nanoGPT get_batch", ".0f"),
    ("loader", "time a device of 1 M tokens/s waits for data", OURS, ".2f"),
]  # fmt: skip


def row_of(result: str, case: str, peer: str | None) -> Row:
    """The row of a case; of a peer's, the one that has its figures."""
    rows = [row for row in read_result(RESULTS / f"{result}.json").rows if row.case == case]
    return next(row for row in rows if peer in (None, row.peer))


@pytest.mark.parametrize("page", PAGES)
def test_figures_are_those_of_the_results(page: str) -> None:
    content, missing = text(page), []
    for result, case, peer, form in FIGURES:
        row = row_of(result, case, peer)
        shown = format(statistics.median(row.ours if peer is OURS else row.theirs), form)
        if not re.search(rf"(?<![\d.,]){re.escape(shown)}(?![\d]|[.,]\d)", content):
            missing.append(f"{result}: {case}: {peer or 'ours'} {shown}")
    assert missing == []


def test_bits_per_byte_of_cleaned_pages_is_the_mean_of_the_seeds() -> None:
    for arm in ("tags stripped", "cleaned and deduplicated"):
        row = row_of("cleaning_value", _HELD_OUT.format(arm), OURS)
        assert all(f"{statistics.mean(row.ours):.3f}" in text(page) for page in PAGES)


@pytest.mark.parametrize("page", PAGES)
def test_the_demos_table_is_that_of_its_result(page: str) -> None:
    for documents in ("all", "clean"):
        case = f"base model, {documents} held-out documents"
        for peer in ("xz", "xz_primed", "ppmd8_primed", "ppmd16_primed", "ngram5", "ngram5_pruned"):
            assert f"{row_of('demo', case, peer).theirs[0]:.3f}" in text(page), (case, peer)
        assert f"{row_of('demo', case, OURS).ours[0]:.3f}" in text(page), case
