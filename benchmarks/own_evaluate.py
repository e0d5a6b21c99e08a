"""Our side of benchmarks/evaluate.py: MODEL FOLDER -> one JSON line with figures and seconds.

As the peer's side does, it reads data and weights first and times the scoring alone.
"""

import json
import os
import sys
import time
from pathlib import Path

import torch

from model.huggingface import import_weights
from pipeline.evals.perplexity import score_documents, summarise
from pipeline.serving.hf_tokenizer import HuggingFaceTokenizer


def main(directory: str, folder: str) -> None:
    """Score documents.jsonl and print what was found."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = import_weights(Path(directory)).eval()
    tokenizer = HuggingFaceTokenizer.load(Path(directory))
    with open(Path(folder) / "documents.jsonl", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    count = len(texts)
    documents = {
        "doc_id": [str(i) for i in range(count)], "text": texts, "source": ["documents"] * count,
        "language": ["und"] * count,
    }  # fmt: skip
    context = model.config.context_length
    start = time.perf_counter()
    scores = score_documents(model, tokenizer, documents, context=context, stride=context)
    seconds = time.perf_counter() - start
    found = summarise(scores, context=context, stride=context, draws=100, seed=0)
    names = ("bits_per_byte", "byte_perplexity", "word_perplexity", "tokens")
    print(json.dumps({"seconds": seconds, **{name: found[name] for name in names}}))


if __name__ == "__main__":
    main(*sys.argv[1:])
