"""The Jinja template that `transformers` renders a conversation with: the ids we train on.

    <|bos|><|user|>question<|end|><|assistant|>answer<|end|>

A generation prompt ends in `<|assistant|>`. The other form of an example, `prompt + [bos] +
answer + [eos]`, needs no template: it is the prompt with `bos_token` after it.

We encode every text apart from the special tokens, so what a person writes is never one. A template
makes one text of all, in which a `<|end|>` somebody wrote would end the turn: it refuses instead.
The same goes for every other special token of the vocabulary.
"""

import json
from collections.abc import Iterable

OURS = ("<|bos|>", "<|eos|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>")


def checked_message(specials: Iterable[str] = ()) -> str:
    """Jinja that stops at a message which would be rendered as something else than was trained.

    A role of no name, a content that is no text, or one that holds a special token: ours, or one
    of `specials`.
    """
    more = [text for text in specials if text not in OURS]
    named = ", ".join(["bos_token", "eos_token", *map(_quoted, [*OURS, *more])])
    return (
        "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
        "{{ raise_exception('role ' ~ message['role'] ~ ': use system, user or assistant') }}"
        "{% endif %}"
        "{% if message['content'] is not string %}"
        "{{ raise_exception('the content of a message must be text') }}"
        "{% endif %}"
        "{% for marker in [" + named + "] %}"
        "{% if marker in message['content'] %}"
        "{{ raise_exception('a message contains ' ~ marker ~ "
        "', which would be read as a token') }}"
        "{% endif %}"
        "{% endfor %}"
    )


def conversation_template(specials: Iterable[str] = ()) -> str:
    """The template for a vocabulary with these special tokens beside ours."""
    return (
        "{{ bos_token }}"
        "{% for message in messages %}"
        f"{checked_message(specials)}"
        "{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )


def _quoted(text: str) -> str:
    """A Jinja string literal, whose escapes are those of JSON."""
    return json.dumps(text)
