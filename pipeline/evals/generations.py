"""The same prompts continued greedily and by sampling: what a reader looks at first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from model.generate import generate
from model.language_model import LanguageModel
from pipeline.evals.sft import AnswerTokenizer, ended_text


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn: temperature divides the logits, then top-k, then top-p."""

    max_tokens: int
    temperature: float
    top_k: int | None
    top_p: float | None
    seed: int


def continue_prompts(
    model: LanguageModel,
    tokenizer: AnswerTokenizer,
    prompts: Sequence[str],
    sampling: Sampling,
    *,
    context: int,
) -> list[dict[str, Any]]:
    """`{prompt, greedy, sampled}` per prompt, as the beginning of a document: bos, then the prompt.

    A prompt that leaves no room is continued from its last tokens; `cut_tokens` says how many went.
    """
    rows: list[dict[str, Any]] = []
    stops = (tokenizer.eos, tokenizer.end)
    max_tokens = min(sampling.max_tokens, context - 1)
    for number, prompt in enumerate(prompts):
        words = tokenizer.encode(prompt)
        room = context - max_tokens - 1
        cut = max(0, len(words) - room)
        ids = [tokenizer.bos, *words[cut:]]
        plain = generate(
            model, [ids], max_tokens=max_tokens, temperature=0.0, top_k=None, top_p=None,
            stop_ids=stops, seed=0,
        )  # fmt: skip
        drawn = generate(
            model, [ids], max_tokens=max_tokens, temperature=sampling.temperature,
            top_k=sampling.top_k, top_p=sampling.top_p, stop_ids=stops, seed=sampling.seed + number,
        )  # fmt: skip
        row: dict[str, Any] = {"prompt": prompt, "cut_tokens": cut}
        row["greedy"], row["greedy_ended"] = ended_text(plain[0], stops, max_tokens, tokenizer)
        row["sampled"], row["sampled_ended"] = ended_text(drawn[0], stops, max_tokens, tokenizer)
        rows.append(row)
    return rows
