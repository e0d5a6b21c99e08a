"""The side of lm-evaluation-harness in benchmarks/evaluate.py; holds nothing of this project.

    peer_evaluate.py MODEL DOCS.jsonl WORK BATCH -> one JSON line: figures, seconds, versions

`seconds` is the scoring alone: model and task are loaded before, and the data is read before.
"""

import json
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

TASK = """\
task: local_documents
dataset_path: json
dataset_kwargs: {{data_files: {{test: {documents}}}}}
output_type: loglikelihood_rolling
test_split: test
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - {{metric: word_perplexity}}
  - {{metric: byte_perplexity}}
  - {{metric: bits_per_byte}}
metadata: {{version: 1.0}}
"""


def main(model: str, documents: str, work: str, batch: str) -> None:
    """Score every document by rolling log-likelihood and print what was found."""
    folder = Path(work)
    os.environ |= {
        "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(folder / "hf"),
        "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    (tasks / "local_documents.yaml").write_text(TASK.format(documents=documents))
    # Its cache of logits takes two windows with equal inputs for one request, and scores the wrong
    # positions of the shorter one: periodic text has such windows.
    wrapped = HFLM(
        pretrained=model, dtype="float32", device="cpu", batch_size=int(batch), logits_cache=False
    )
    spent: dict[str, float] = {}
    scoring = wrapped.loglikelihood_rolling

    def timed(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        answer = scoring(*arguments, **options)
        spent["seconds"] = time.perf_counter() - start
        return answer

    wrapped.loglikelihood_rolling = timed
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = simple_evaluate(
        model=wrapped, tasks=["local_documents"], task_manager=manager, bootstrap_iters=0,
        log_samples=False,
    )  # fmt: skip
    figures = found["results"]["local_documents"]
    print(json.dumps({
        "seconds": spent["seconds"],
        "max_length": wrapped.max_length,
        **{name: figures[f"{name},none"] for name in
           ("bits_per_byte", "byte_perplexity", "word_perplexity")},
        "versions": {name: version(name) for name in ("lm-eval", "torch", "transformers")},
    }))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
