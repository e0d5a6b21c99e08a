"""The objective of a run, put between the loader and the batches.

loader -> arrays, epochs, samples -> objective -> arrays -> Batch
"""

from functools import cache
from pathlib import Path

from model.errors import ModelError
from model.objectives import AnyObjective, CausalLM, Objective, RowKeys, Vocabulary
from pipeline.store.errors import ConfigError
from pipeline.tokens.batches import Batches
from pipeline.tokens.buffers import ArrayBatch
from pipeline.tokens.order import Ids
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.job import TrainingJob


def apply_objective(job: TrainingJob, source: Batches, *, seed: int) -> Batches:
    """`source` with rows as the job's objective wants them, drawn from `seed`."""
    if isinstance(job.objective, CausalLM):
        return source
    objective = build_objective(job.objective, _loaded(job.tokenizer))

    def transform(arrays: ArrayBatch, epochs: Ids, samples: Ids) -> ArrayBatch:
        return dict(objective(arrays, RowKeys(seed, epochs.tolist(), samples.tolist())))

    source.transform = transform
    return source


def build_objective(objective: AnyObjective, tokenizer: Tokenizer) -> Objective:
    """The objective for these ids; ConfigError where the tokenizer lacks one it needs."""
    vocabulary = Vocabulary(
        size=tokenizer.vocab_size,
        special_ids=tuple(sorted(tokenizer.specials.values())),
        mask=tokenizer.mask if tokenizer.has_mask else None,
    )
    try:
        return objective.build(vocabulary)
    except ModelError as error:
        raise ConfigError(str(error)) from error


@cache
def _loaded(directory: str) -> Tokenizer:
    return Tokenizer.load(Path(directory))
