"""The text a model was trained on, where it can be found: for what it copies and what leaked.

checkpoint -> (its base) -> token shards, training split     texts of files a person names
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.artifacts import Artifact, TokenShards, TrainedTokenizer, parents_of
from pipeline.conversations.splits import unit_hash
from pipeline.evals.memorisation import choose_rows
from pipeline.tokens.shards import Shards, shard_paths
from pipeline.tokens.tokenizer import Tokenizer

SPARE = 4  # times as many texts are looked at as are wanted: some turn out too short in tokens


@dataclass(frozen=True)
class ShardTexts:
    """The training split of token shards, decoded."""

    shards: TokenShards
    tokenizer: Tokenizer

    @property
    def name(self) -> str:
        """What the report calls it."""
        return f"the training split of {self.shards.ref}"

    def texts(self) -> Iterator[str]:
        """Every document's text."""
        for i in range(self._opened.num_documents):
            yield self._text(i)

    def sample(self, count: int, needed: int, *, seed: int) -> list[str]:
        """At most `count` documents of at least `needed` tokens, drawn evenly."""
        rows = choose_rows(self._opened.document_lengths() - 2, needed, count, seed)
        return [self._text(i) for i in rows]

    @cached_property
    def _opened(self) -> Shards:
        return Shards.open(shard_paths(self.shards, "train"), verify="none")

    def _text(self, i: int) -> str:
        _, _, tokens = self._opened.document(i)
        return self.tokenizer.decode(tokens[1:-1].tolist())  # without bos and eos


@dataclass(frozen=True)
class GivenTexts:
    """Documents that a person says were trained on."""

    name: str
    documents: list[str]

    def texts(self) -> Iterator[str]:
        """Every document's text."""
        return iter(self.documents)

    def sample(self, count: int, needed: int, *, seed: int) -> list[str]:
        """At most `count * SPARE` documents that may have `needed` tokens, drawn by hash."""
        long_enough = (i for i, text in enumerate(self.documents) if len(text.encode()) >= needed)
        order: Callable[[int], float] = lambda i: unit_hash(seed, "recited", str(i))  # noqa: E731
        rows = sorted(heapq.nsmallest(count * SPARE, long_enough, key=order))
        return [self.documents[i] for i in rows]


TrainingText = ShardTexts | GivenTexts


def training_text_of(model: Artifact) -> ShardTexts | None:
    """What a checkpoint or its export was pretrained on, if that is still under its root."""
    shards, tokenizer = _ancestor(model, TokenShards), _ancestor(model, TrainedTokenizer)
    if not isinstance(shards, TokenShards) or not isinstance(tokenizer, TrainedTokenizer):
        return None
    return ShardTexts(shards, Tokenizer.load(Path(tokenizer.path)))


def _ancestor(artifact: Artifact, kind: type[Artifact]) -> Artifact | None:
    """The nearest ancestor of a kind, breadth first."""
    generation = [artifact]
    while generation:
        parents = [parent for one in generation for parent in parents_of(one)]
        found = next((parent for parent in parents if isinstance(parent, kind)), None)
        if found is not None:
            return found
        generation = parents
    return None
