"""What fine-tuning learns from: how much of the space of questions it covers, or the best part.

train.jsonl -> embeddings of the prompts by the base model -> clusters, map -> diversity.json
                                                           -> the k that cover most, if asked
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from model.checkpoint_io import load_model
from model.errors import WeightsError
from pipeline.artifacts import Checkpoint, ExampleSet, TrainedTokenizer
from pipeline.conversations.diversity import clusters, covering_radius, k_centre, plane, unit
from pipeline.conversations.example import Example, read_examples, write_examples
from pipeline.conversations.template import question_ids
from pipeline.store.errors import ArtifactError
from pipeline.store.files import write_json
from pipeline.tokens.tokenizer import Tokenizer
from pipeline.training.devices import World, local_device
from pipeline.training.embedding import embed

T = TypeVar("T")
DIVERSITY = "diversity.json"
CLUSTERS = 32  # guess; enough to tell a handful of templates from open questions
SHOWN = 2_000  # examples that are looked at where none are chosen; evenly spaced
MAX_TOKENS = 256  # of a prompt


def choose_examples(
    examples: ExampleSet,
    base: Checkpoint,
    tokenizer: TrainedTokenizer,
    directory: Path,
    *,
    most_diverse: int | None,
    seed: int,
    device: str = "cpu",
) -> tuple[Path, dict[str, Any]]:
    """(file of the training examples, facts); writes diversity.json into `directory`.

    With `most_diverse` all examples are embedded and the k that cover most are kept, in the order
    of the file; without, up to SHOWN of them are looked at and all are kept. An example that the
    weights of its source repeat is one example here, and is repeated again where it is chosen.
    """
    path = examples.path / "train.jsonl"
    times = Counter(read_examples(path))
    everything = list(times)
    looked_at = everything if most_diverse is not None else _spread(everything, SHOWN)
    points = unit(_embeddings(looked_at, base, tokenizer, device))
    found = clusters(points, CLUSTERS, seed=seed)
    facts: dict[str, Any] = {
        "examples": len(everything),
        "looked_at": len(looked_at),
        "clusters": len(found.sizes),
        "effective_clusters": round(found.effective, 2),
        "largest_cluster": round(float(found.sizes[0]) / len(looked_at), 4),
    }
    chosen = np.arange(len(looked_at))
    if most_diverse is not None:
        chosen = np.sort(k_centre(points, most_diverse))
        facts |= {"chosen": len(chosen), "covering_radius": covering_radius(points, chosen)}
        path = directory / "chosen.jsonl"
        kept_ones = [looked_at[i] for i in chosen.tolist()]
        write_examples(path, (one for one in kept_ones for _ in range(times[one])))
    kept = set(chosen.tolist())
    write_json(
        directory / DIVERSITY,
        {
            **facts,
            "sizes": found.sizes.tolist(),
            "map": [
                [round(float(x), 3), round(float(y), 3), example.kind, i in kept]
                for i, example, (x, y) in _spread(
                    list(zip(range(len(looked_at)), looked_at, plane(points), strict=True)),
                    2 * SHOWN,
                )
            ],
        },
    )
    return path, facts


def _spread(items: Sequence[T], most: int) -> Sequence[T]:
    """At most `most` of the items, evenly spaced."""
    return items[:: max(1, -(-len(items) // most))]


def _embeddings(
    examples: Sequence[Example], base: Checkpoint, tokenizer: TrainedTokenizer, device: str
) -> np.ndarray:
    vocabulary = Tokenizer.load(tokenizer.path)
    try:
        model = load_model(base.weights_path.parent, device=local_device(device, World()))
    except WeightsError as error:
        raise ArtifactError(f"{error}; delete {base.path} and rerun") from error
    texts = [question_ids(example, vocabulary) for example in examples]
    points = embed(model, texts, max_tokens=MAX_TOKENS)
    del model
    if device.startswith("cuda"):
        torch.cuda.empty_cache()  # training, perhaps in processes of its own, needs the room
    return points
