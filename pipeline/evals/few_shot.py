"""Solved examples before the question, and how close a short answer is: the usual two measures.

    zero-shot   question ->                 few-shot   question answer question answer question ->

In-context learning without a gradient step (Brown et al. 2020): the shots are training examples of
the question's own kind, the same for every question and every model.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pipeline.conversations.example import Example
from pipeline.conversations.splits import unit_hash
from pipeline.conversations.template import TextEncoder, question_ids, segments
from pipeline.corpus.words import find_words

Form = Literal["answer", "continuation"]
"""How a model is asked: in the form it was tuned on (`prompt bos`, until eos), or, where it was
never tuned, as the beginning of a document (`bos prompt`, until the end of the line)."""
Shots = Mapping[str, Sequence[Example]]
"""Solved examples by kind."""


def choose_shots(
    train: Iterable[Example], count: int, tokenizer: TextEncoder, *, max_tokens: int, seed: int
) -> dict[str, list[Example]]:
    """`count` training examples of each kind, drawn by hash among those of at most `max_tokens`."""
    drawn: dict[str, list[tuple[float, Example]]] = {}
    for example in train:
        if example.messages:
            continue
        kept = drawn.setdefault(example.kind, [])
        place = unit_hash(seed, "shot", example.group, example.question)
        if len(kept) == count and place >= kept[-1][0]:
            continue
        if len(segments(example, tokenizer).ids) <= max_tokens:
            kept.append((place, example))
            kept.sort(key=lambda item: item[0])
            del kept[count:]
    return {kind: [example for _, example in kept] for kind, kept in drawn.items()}


def asked_ids(
    question: Example, tokenizer: TextEncoder, form: Form, shots: Sequence[Example] = ()
) -> list[int]:
    """The ids that ask the question, after `shots`; a conversation is asked without any.

    A model that was never tuned knows no role tokens: it reads a conversation as lines of a play.
    """
    if question.messages:
        if form == "answer":
            return question_ids(question, tokenizer)
        return [tokenizer.bos, *tokenizer.encode(f"{question.question}\nassistant:")]
    if form == "answer":
        before = [token for shot in shots for token in segments(shot, tokenizer).ids]
        return [*before, *question_ids(question, tokenizer)]
    solved = "".join(f"{shot.prompt}\n{shot.answer}\n\n" for shot in shots)
    return [tokenizer.bos, *tokenizer.encode(solved + question.prompt)]


def few_shot_prompt(
    question: str,
    examples: Sequence[tuple[str, str]] = (),
    *,
    task: str = "",
    answer_mark: str = "=>",
) -> str:
    """Zero-, one- or few-shot prompt: task, then solved examples, then the question, open.

    In the form of Brown et al. 2020, figure 2.1: `sea otter => loutre de mer`, one per line; the
    answer is what a model goes on with. ValueError where a line break would end an example early.
    """
    for text in (question, *(part for pair in examples for part in pair)):
        if "\n" in text:
            raise ValueError(f"{text[:60]!r} holds a line break, which ends an example; replace it")
    lines = [task] if task else []
    lines += [f"{asked} {answer_mark} {answer}" for asked, answer in examples]
    return "\n".join([*lines, f"{question} {answer_mark}"])


def token_f1(answer: str, expected: str) -> float:
    """Harmonic mean of precision and recall over words (Rajpurkar et al. 2016, SQuAD).

    Words as everywhere here: lower case, without punctuation; in scripts without spaces each
    character is one. Two texts without words agree if they are equal.
    """
    found = [find_words([text]).hashes.tolist() for text in (answer, expected)]
    if not found[0] or not found[1]:
        return float(answer.strip() == expected.strip())
    shared = sum((Counter(found[0]) & Counter(found[1])).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(found[0]), shared / len(found[1])
    return 2 * precision * recall / (precision + recall)
