"""The Jinja template that `transformers` renders a conversation with: the ids we train on.

    <|bos|><|user|>question<|end|><|assistant|>answer<|end|>

A generation prompt ends in `<|assistant|>`. The other form of an example, `prompt + [bos] +
answer + [eos]`, needs no template: it is the prompt with `bos_token` after it.
"""

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('role ' ~ message['role'] ~ ': use system, user or assistant') }}"
    "{% endif %}"
    "{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
