"""Answers to the user's own tasks: by likelihood where there are options, else by generating.

    choice       log p(option | shots, question), as a sum and per byte of the option
    pair         log p(good) > log p(bad), each as a whole document
    generation   greedy, exactly right up to surrounding white space

Whole-option likelihood is GPT-3's way (Brown et al. 2020, section 2.4); per byte is what
lm-evaluation-harness calls acc_bytes. A prompt that does not fit the context is counted, not cut.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.language_model import LanguageModel
from pipeline.conversations.example import Example
from pipeline.conversations.template import pair_segments
from pipeline.evals.few_shot import Form, asked_ids, token_f1
from pipeline.evals.scoring import sequence_nats
from pipeline.evals.sft import GENERATION_ROWS, AnswerTokenizer, first_line, greedy
from pipeline.evals.statistics import wilson
from pipeline.evals.task_file import TaskItem, choose_task_shots, shot_pools
from pipeline.store.errors import DataError


@dataclass(frozen=True)
class TaskResult:
    """One question asked with one number of shots."""

    task: str
    kind: str
    shots: int
    number: int
    """Which row of the file, among those that are asked."""
    score: float
    """1 right, 0 wrong, a half for two equal sentences."""
    normalised: float | None
    """Of a choice: right by nats per byte; of a generation: F1 of its words."""
    chance: float
    answer: str


def answer_tasks(
    model: LanguageModel,
    tokenizer: AnswerTokenizer,
    items: Sequence[TaskItem],
    *,
    context: int,
    shots: Sequence[int],
    form: Form,
    max_tokens: int,
    seed: int,
) -> tuple[list[TaskResult], dict[str, int]]:
    """Results in the order of the file, one round per number of shots, and how many questions of a
    round were left out, by why.

    Pairs are whole documents and have no shots. A question with too few solved examples for a round
    is left out of it, as one is whose prompt does not fit; DataError where nothing can be asked.
    """
    asked = [item for item in items if not item.is_shot]
    pools = shot_pools(items)
    results: list[TaskResult] = []
    left_out: dict[str, int] = {}
    refused: DataError | None = None
    for count in sorted(set(shots)):
        numbers = [n for n, item in enumerate(asked) if count == 0 or item.kind != "pair"]
        solved: dict[int, list[TaskItem]] = {}
        for n in numbers:
            try:
                solved[n] = choose_task_shots(asked[n], pools[asked[n].task], count, seed=seed)
            except DataError as error:
                refused = error
                _count(left_out, asked[n], count, "too few solved examples")
        scored = _by_likelihood(model, tokenizer, asked, solved, context, form, count)
        scored |= _by_generation(model, tokenizer, asked, solved, context, form, count, max_tokens)
        results += [scored[n] for n in numbers if n in scored]
        for n in solved.keys() - scored.keys():
            _count(left_out, asked[n], count, "no room in the context")
    if refused is not None and not results:
        raise refused
    return results, left_out


def _count(left_out: dict[str, int], item: TaskItem, shots: int, why: str) -> None:
    """One question more that was not asked in a round."""
    key = f"{item.task}, {shots} shots: {why}"
    left_out[key] = left_out.get(key, 0) + 1


def summarise_tasks(results: Sequence[TaskResult]) -> list[dict[str, Any]]:
    """One row per task and number of shots, with Wilson's interval and what chance would give."""
    groups: dict[tuple[str, int], list[TaskResult]] = {}
    for result in results:
        groups.setdefault((result.task, result.shots), []).append(result)
    rows = []
    for (task, shots), group in groups.items():
        total, right = len(group), sum(result.score for result in group)
        chance = float(np.mean([result.chance for result in group]))
        interval = wilson(right, total)
        row: dict[str, Any] = {
            "task": task, "kind": group[0].kind, "shots": shots, "asked": total,
            "accuracy": right / total, "low": interval.low, "high": interval.high,
            "chance": chance,
        }  # fmt: skip
        if group[0].kind == "generation":
            row["token_f1"] = float(np.mean([result.normalised for result in group]))
        elif group[0].normalised is not None:
            normalised = sum(result.normalised or 0.0 for result in group)
            interval = wilson(normalised, total)
            row |= {
                "accuracy_per_byte": normalised / total,
                "per_byte_low": interval.low, "per_byte_high": interval.high,
            }  # fmt: skip
        rows.append(row)
    return rows


def delimiter_after(question: str) -> str:
    """One space between question and option; none after white space and full-width characters."""
    if not question or question[-1].isspace():
        return ""
    return "" if unicodedata.east_asian_width(question[-1]) in ("W", "F") else " "


def option_ids(
    item: TaskItem, shots: Sequence[TaskItem], tokenizer: AnswerTokenizer, form: Form
) -> tuple[list[int], list[list[int]]]:
    """(ids before, ids of each option): options are encoded apart, so no token spans the border."""
    if item.kind == "pair":
        return [tokenizer.bos], [tokenizer.encode(option) for option in item.options]
    if form == "answer":
        before: list[int] = []
        for shot in shots:
            question, answer = tokenizer.encode(shot.question), tokenizer.encode(shot.answer)
            before += pair_segments(question, answer, tokenizer).ids
        before += [*tokenizer.encode(item.question), tokenizer.bos]
        return before, [tokenizer.encode(option) for option in item.options]
    solved = "".join(
        f"{shot.question}{delimiter_after(shot.question)}{shot.answer}\n\n" for shot in shots
    )
    gap = delimiter_after(item.question)
    before = [tokenizer.bos, *tokenizer.encode(solved + item.question)]
    return before, [tokenizer.encode(gap + option) for option in item.options]


def _by_likelihood(
    model: LanguageModel,
    tokenizer: AnswerTokenizer,
    asked: Sequence[TaskItem],
    solved: dict[int, list[TaskItem]],
    context: int,
    form: Form,
    count: int,
) -> dict[int, TaskResult]:
    sequences, firsts = [], []
    fitting: list[tuple[int, int]] = []  # (question, its options)
    for n, shots in solved.items():
        if asked[n].kind == "generation":
            continue
        before, options = option_ids(asked[n], shots, tokenizer, form)
        if len(before) + max(map(len, options)) > context + 1:
            continue
        for ids in options:
            sequences.append(np.array([*before, *ids], np.int64))
            firsts.append(len(before))
        fitting.append((n, len(options)))
    nats = [float(values.sum()) for values in sequence_nats(model, sequences, firsts)]
    results, at = {}, 0
    for n, size in fitting:
        item, mine = asked[n], np.array(nats[at : at + size])
        at += size
        normalised = None
        if item.kind == "pair":
            score = 0.5 if mine[0] == mine[1] else float(mine[0] < mine[1])
        else:
            num_bytes = np.array([len(option.encode()) for option in item.options])
            score = float(int(mine.argmin()) == item.right)
            normalised = float(int((mine / num_bytes).argmin()) == item.right)
        results[n] = TaskResult(
            item.task, item.kind, count, n, score, normalised, 1 / size,
            item.options[int(mine.argmin())],
        )  # fmt: skip
    return results


def _by_generation(
    model: LanguageModel,
    tokenizer: AnswerTokenizer,
    asked: Sequence[TaskItem],
    solved: dict[int, list[TaskItem]],
    context: int,
    form: Form,
    count: int,
    max_tokens: int,
) -> dict[int, TaskResult]:
    prompts = {}
    for n, shots in solved.items():
        if asked[n].kind == "generation":
            examples = [_example(shot) for shot in shots]
            ids = asked_ids(_example(asked[n]), tokenizer, form, examples)
            if form == "continuation":
                ids += tokenizer.encode("\n")
            if len(ids) + max_tokens <= context:  # no answer depends on its neighbours' lengths
                prompts[n] = ids
    results = {}
    order = sorted(prompts, key=lambda n: (len(prompts[n]), n))
    for start in range(0, len(order), GENERATION_ROWS):
        batch = order[start : start + GENERATION_ROWS]
        outputs = greedy(model, tokenizer, [prompts[n] for n in batch], max_tokens)
        for n, (text, ended) in zip(batch, outputs, strict=True):
            answer, ended = first_line(text, ended) if form == "continuation" else (text, ended)
            item = asked[n]
            right = ended and answer.strip() == item.answer.strip()
            results[n] = TaskResult(
                item.task, item.kind, count, n, float(right), token_f1(answer, item.answer), 0.0,
                answer.strip(),
            )  # fmt: skip
    return results


def _example(item: TaskItem) -> Example:
    return Example(id="", prompt=item.question, answer=item.answer, kind=item.task)
