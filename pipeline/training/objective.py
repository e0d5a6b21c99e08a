"""The objective of a run, put between the loader and the batches.

loader -> arrays, epochs, samples -> objective -> arrays -> Batch
"""

from functools import cache
from pathlib import Path

from model.errors import ModelError
from model.objectives import (
    CausalLM,
    Objective,
    RowKeys,
    SpanCorruption,
    TrainedObjective,
    Vocabulary,
)
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
    tokenizer = _loaded(job.tokenizer)
    objective = build_objective(job.objective, tokenizer, length=job.context_length)

    def transform(arrays: ArrayBatch, epochs: Ids, samples: Ids) -> ArrayBatch:
        return dict(objective(arrays, RowKeys(seed, epochs.tolist(), samples.tolist())))

    source.transform = transform
    return source


def build_objective(objective: TrainedObjective, tokenizer: Tokenizer, *, length: int) -> Objective:
    """The objective for these ids and rows of `length`; ConfigError where the tokenizer lacks one
    it needs.
    """
    vocabulary = Vocabulary(
        size=tokenizer.vocab_size,
        special_ids=tuple(sorted(tokenizer.specials.values())),
        mask=tokenizer.mask if tokenizer.has_mask else None,
        sentinels=tokenizer.sentinels,
        start=tokenizer.bos,
        end=tokenizer.eos,
    )
    if isinstance(objective, SpanCorruption):
        spans = objective.cuts(length)[1]
        if spans > len(tokenizer.sentinels):
            raise ConfigError(
                f"rows of {length} tokens have up to {spans} spans cut out, the tokenizer has "
                f"{len(tokenizer.sentinels)} sentinels; set tokenizer.sentinels to at least {spans}"
                ", such as 100, or lower pretrain.context_length"
            )
    try:
        return objective.build(vocabulary)
    except ModelError as error:
        raise ConfigError(str(error)) from error


@cache
def _loaded(directory: str) -> Tokenizer:
    return Tokenizer.load(Path(directory))
