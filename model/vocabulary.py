"""More token ids for a trained model: rows for new special tokens in embedding and head.

A new row is the mean of the old ones, in the embedding, the untied head and the head's bias: the
logit of a new token is then at most the logarithm of the mean exponent of the old ones, so adding
tokens hardly takes probability from the others (Hewitt 2021, "Initializing New Word Embeddings for
Pretrained Language Models"); rows of noise may take nearly all of it. Old rows keep their bits.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from model.errors import WeightsError

ROWS_PER_TOKEN = ("embedding.weight", "head.weight", "head_bias")
"""Parameters with a row for every token id; a tied head has none of its own."""


def grow_vocabulary(tensors: Mapping[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """The named weights of a model with `vocab_size` ids; those that have so many are unchanged.

    WeightsError where there are more already: ids are never taken away.
    """
    grown = dict(tensors)
    for name in ROWS_PER_TOKEN:
        if name not in grown:
            continue
        old = grown[name]
        new = vocab_size - len(old)
        if new < 0:
            raise WeightsError(
                f"{name} has {len(old)} rows, more than a vocabulary of {vocab_size}; "
                "ids cannot be taken away"
            )
        if new:
            mean = old.mean(dim=0, keepdim=True, dtype=torch.float64).to(old.dtype)
            grown[name] = torch.cat((old, mean.expand(new, *old.shape[1:])))
    return grown
