"""The rules of `size: auto`: which model, batch and rates a budget buys, and the loss to expect.

    budget --> for every size of the ladder: tokens it can be trained on in the budget
           --> the loss law's prediction for that size and so many tokens --> the smallest wins

N parameters inside the blocks, D trained tokens, U unique tokens. Depth is the one dial: width is
64 times the depth (nanochat's aspect ratio), heads are 64 wide, the gated network is 8/3 as wide.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from model.language_model import Initialization
from model.optim import MuonConfig
from model.qwen3 import Qwen3Config
from model.schedule import WarmupStableDecaySchedule

HEAD_WIDTH = 64
DEPTHS = (2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32)
MAX_EPOCHS = 4  # up to here a repeated token is worth a new one: Muennighoff et al. 2023, figure 1
REPEAT_DECAY = 15.39  # R*_D of the same paper's fitted law (section 3.1)
EXCESS_DECAY = 5.31  # R*_N there: parameters beyond what the unique text can use
# Unique tokens one parameter of the blocks can use: 3 M for 1.3 M was best here; a guess beyond.
USABLE_TOKENS = 2.3
NEARLY_BEST = 1.01  # beyond MAX_EPOCHS the smallest model within 1 % of the best is taken; guess
# Against learning by heart; measured on 50,000 and 100,000 ids with 2 M parameters, at 4 and at 16
# passes (docs/lab-notes.md). At full rates held-out loss turned at the second pass, so beyond two
# the rates fall as 2 / epochs. At 4 passes decay and dropout gained nothing: only beyond.
FULL_RATE_EPOCHS = 2
REPEATED_DECAY = 1.0  # of Muon's matrices, times the rate; large as in Kim et al. 2025
REPEATED_DROPOUT = 0.2  # nanoGPT's for Shakespeare

# Batch in positions: 4,096 was best for 3 M tokens here; the exponent is nanochat's (dev/LOG.md).
REFERENCE_BATCH, REFERENCE_TOKENS, BATCH_EXPONENT = 4096, 3_000_000, 0.383
# Muon's rate holds for every width; AdamW's for tables falls with the width's root (nanochat).
REFERENCE_WIDTH = 192


@dataclass(frozen=True)
class LossLaw:
    """Nats per byte = floor + a / N^alpha + b / D^beta, D in bytes of text.

    The form is Hoffmann et al. 2022; their constants give more than log(V) at these sizes, so
    `LAW` is fitted to six runs of this project on the documentation of Python (docs/lab-notes.md):
    within 1.1 % of each. The floor is a guess and alpha is Hoffmann's; runs this small fix neither.
    """

    floor: float
    a: float
    alpha: float
    b: float
    beta: float

    def nats_per_byte(self, parameters: float, text_bytes: float) -> float:
        """The prediction for a model of `parameters` inside its blocks."""
        return self.floor + self.a / parameters**self.alpha + self.b / text_bytes**self.beta


LAW = LossLaw(floor=0.5, a=5.646, alpha=0.34, b=26.12, beta=0.25)


@dataclass(frozen=True)
class Candidate:
    """One size of the ladder under a budget."""

    depth: int
    tokens: int
    predicted_loss: float
    """Nats per token."""
    tokens_per_second: float


def auto_model(depth: int) -> Qwen3Config:
    """The model of a depth; vocabulary and context are the run's."""
    width = HEAD_WIDTH * depth
    return Qwen3Config(
        width=width, layers=depth, heads=depth, kv_heads=depth, head_width=HEAD_WIDTH,
        hidden_width=64 * math.ceil(width * 8 / 3 / 64), rope_theta=10_000.0, tied_head=False,
        init=Initialization(head_std=0.001, zero_outputs=True),
    )  # fmt: skip


def block_parameters(depth: int) -> int:
    """Weights of the matrices inside the blocks."""
    model = auto_model(depth)
    return depth * (4 * model.width**2 + 3 * model.width * model.hidden_width)


def auto_optimizer(depth: int, *, epochs: float) -> MuonConfig:
    """Muon at its own rate, AdamW's rates by width; lower rates and decay for repeated text."""
    scale = math.sqrt(REFERENCE_WIDTH / (HEAD_WIDTH * depth))
    base = MuonConfig()
    lower = min(1.0, FULL_RATE_EPOCHS / epochs)
    return MuonConfig(
        learning_rate=base.learning_rate * lower,
        embedding_learning_rate=base.embedding_learning_rate * scale * lower,
        head_learning_rate=base.head_learning_rate * scale * lower,
        vector_learning_rate=base.vector_learning_rate * lower,
        weight_decay=REPEATED_DECAY if epochs > MAX_EPOCHS else base.weight_decay,
    )


def auto_dropout(epochs: float) -> float:
    """The share that is dropped: nothing as long as a repeated token is worth a new one."""
    return REPEATED_DROPOUT if epochs > MAX_EPOCHS else 0.0


def auto_schedule() -> WarmupStableDecaySchedule:
    """Half of the steps at the full rate, then straight down to nothing."""
    return WarmupStableDecaySchedule(warmup_fraction=0.02, decay_fraction=0.5)


def auto_batch_rows(tokens: int, context_length: int) -> int:
    """Rows of a step: a power of two nearest to the rule, and at least 20 steps in the run."""
    positions = REFERENCE_BATCH * (tokens / REFERENCE_TOKENS) ** BATCH_EXPONENT
    rows = 2 ** round(math.log2(max(1.0, positions / context_length)))
    most = max(1, tokens // (20 * context_length))
    return max(1, min(rows, 2 ** int(math.log2(most))))


def effective_tokens(tokens: float, unique: float) -> float:
    """What `tokens` trained on `unique` ones are worth in new ones (Muennighoff et al. 2023)."""
    return _saturating(tokens, unique, REPEAT_DECAY)


def _saturating(amount: float, useful: float, decay: float) -> float:
    """`amount` up to `useful`; the rest counts less and less, `decay` times `useful` at most."""
    if amount <= useful:
        return amount
    excess = amount / useful - 1.0
    return useful * (1.0 + decay * (1.0 - math.exp(-excess / decay)))


def predicted_loss(
    depth: int, tokens: float, *, unique: float, bytes_per_token: float, law: LossLaw = LAW
) -> float:
    """Nats per token on held-out text after a whole run."""
    worth = effective_tokens(tokens, unique) * bytes_per_token
    parameters = float(block_parameters(depth))
    if tokens > unique:  # repeated text cannot use every size
        parameters = _saturating(parameters, unique / USABLE_TOKENS, EXCESS_DECAY)
    return law.nats_per_byte(parameters, worth) * bytes_per_token


def candidates(
    rates: Mapping[int, float],
    *,
    seconds: float | None,
    tokens: int | None,
    unique: int,
    bytes_per_token: float,
) -> list[Candidate]:
    """Every depth of `rates` (tokens per second) under a budget of seconds or of tokens."""
    found = []
    for depth, rate in sorted(rates.items()):
        trained = tokens if tokens is not None else int(rate * (seconds or 0.0))
        if trained < 1:
            continue
        loss = predicted_loss(depth, trained, unique=unique, bytes_per_token=bytes_per_token)
        found.append(Candidate(depth, trained, loss, rate))
    return found


def best(found: Sequence[Candidate], *, unique: int) -> Candidate:
    """The smallest predicted loss; where text is repeated too often, the smallest model near it."""
    lowest = min(found, key=lambda candidate: (candidate.predicted_loss, candidate.depth))
    if lowest.tokens <= MAX_EPOCHS * unique:
        return lowest
    limit = NEARLY_BEST * lowest.predicted_loss
    return min(
        (candidate for candidate in found if candidate.predicted_loss <= limit),
        key=lambda candidate: candidate.depth,
    )
