"""An example becomes token ids, each marked trainable or not, built piece by piece, once.

    prompt/answer    ids        p p p  bos  a a  eos          n = p + a + 2
                     trainable  0 0 0   0   1 1   1           a + 1 targets
    conversation     ids        bos user q q end assistant a a end ...
                     trainable   0   0   0 0  0      0     1 1  1

A token is a target where `trainable` is 1; the position before it predicts it. So bos is trained
*from*, never *on*, and eos as an input predicts nothing. The shift by one happens in the loader
(`inputs = ids[:-1]`, `targets = ids[1:]`, `loss_mask = trainable[1:]`) and nowhere else. Nothing
here looks for an id in the text: a bos or eos inside a prompt cannot move the boundary.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from pipeline.conversations.example import Example, Message
from pipeline.store.errors import DataError

TurnChoice = Literal["all", "last"]
"""Which of the assistant's turns are trained."""


class TextEncoder(Protocol):
    """The part of a tokenizer the template needs; `encode` never yields a special token."""

    @property
    def bos(self) -> int:
        """Opens an answer, or a conversation."""

    @property
    def eos(self) -> int:
        """Ends an answer."""

    @property
    def system(self) -> int:
        """Opens a system turn."""

    @property
    def user(self) -> int:
        """Opens a user turn."""

    @property
    def assistant(self) -> int:
        """Opens an assistant turn."""

    @property
    def end(self) -> int:
        """Ends a turn."""

    def encode(self, text: str) -> list[int]:
        """Ordinary ids of `text`."""


class Segments(NamedTuple):
    """Token ids and, for each, whether it is a target (1) or only context (0)."""

    ids: list[int]
    trainable: list[int]


def segments(example: Example, tokenizer: TextEncoder, *, train_on: TurnChoice = "all") -> Segments:
    """The ids of an example with their marks, unpadded and uncut.

    `train_on` chooses among the assistant's turns of a conversation.
    """
    if example.messages:
        return chat_segments(example.messages, tokenizer, train_on=train_on)
    return pair_segments(
        tokenizer.encode(example.prompt), tokenizer.encode(example.answer), tokenizer
    )


def pair_segments(prompt: Sequence[int], answer: Sequence[int], tokenizer: TextEncoder) -> Segments:
    """`prompt + [bos] + answer + [eos]`; the targets are exactly the answer and eos."""
    ids = [*prompt, tokenizer.bos, *answer, tokenizer.eos]
    return Segments(ids, [0] * (len(prompt) + 1) + [1] * (len(answer) + 1))


def chat_segments(
    messages: Sequence[Message], tokenizer: TextEncoder, *, train_on: TurnChoice = "all"
) -> Segments:
    """A conversation; the targets are the assistant's words and the token that ends its turn."""
    ids, trainable = [tokenizer.bos], [0]
    answers = [i for i, message in enumerate(messages) if message.role == "assistant"]
    trained = set(answers if train_on == "all" else answers[-1:])
    for i, message in enumerate(messages):
        words = tokenizer.encode(message.content)
        mark = int(i in trained)
        ids += [_role_token(message.role, tokenizer), *words, tokenizer.end]
        trainable += [0, *[mark] * len(words), mark]
    return Segments(ids, trainable)


def prompt_ids(prompt: str, tokenizer: TextEncoder) -> list[int]:
    """What a model is given to answer `prompt`; it stops at eos."""
    return [*tokenizer.encode(prompt), tokenizer.bos]


def chat_prompt_ids(messages: Sequence[Message], tokenizer: TextEncoder) -> list[int]:
    """What a model is given to take the next assistant turn; it stops at `end`."""
    return [*chat_segments(messages, tokenizer).ids, tokenizer.assistant]


def question_ids(example: Example, tokenizer: TextEncoder) -> list[int]:
    """What a model is given to answer an example of either form."""
    if example.messages:
        return chat_prompt_ids(example.asked, tokenizer)
    return prompt_ids(example.prompt, tokenizer)


def _role_token(role: str, tokenizer: TextEncoder) -> int:
    tokens = {"system": tokenizer.system, "user": tokenizer.user, "assistant": tokenizer.assistant}
    if role not in tokens:
        raise DataError(f"role {role!r} is unknown; use one of {', '.join(tokens)}")
    return tokens[role]
