"""The Jinja template that `transformers` renders a conversation with: the ids we train on.

    <|bos|><|user|>question<|end|><|assistant|>answer<|end|>

A generation prompt ends in `<|assistant|>`. The other form of an example, `prompt + [bos] +
answer + [eos]`, needs no template: it is the prompt with `bos_token` after it.

We encode every text apart from the special tokens, so what a person writes is never one. A template
makes one text of all, in which a `<|end|>` somebody wrote would end the turn: it refuses instead.
"""

REFUSE_MARKERS = (
    "{% for marker in [bos_token, eos_token, '<|bos|>', '<|eos|>', '<|pad|>', '<|system|>', "
    "'<|user|>', '<|assistant|>', '<|end|>'] %}"
    "{% if marker in message['content'] %}"
    "{{ raise_exception('a message contains ' ~ marker ~ ', which would be read as a token') }}"
    "{% endif %}"
    "{% endfor %}"
)
"""Stops a conversation whose text would turn into special tokens."""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('role ' ~ message['role'] ~ ': use system, user or assistant') }}"
    "{% endif %}"
    f"{REFUSE_MARKERS}"
    "{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
