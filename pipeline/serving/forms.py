"""The forms of a prompt: what goes before the first generated token.

continue   bos + text                 a base model goes on with the text
fill       bos + text + eos           an encoder finds what <|mask|> stands for in the text
classify   bos + text + eos           a classifier names the class of the text, or of its words
rewrite    text + eos                 an encoder-decoder writes a target, from bos to eos
answer     prompt + bos               a tuned model answers, ended by eos
messages   pair: prompt + bos + answer + eos + prompt + bos      chat: role tokens
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from model.architectures import BertClassifierConfig
from pipeline.artifacts import Checkpoint, ExampleSet, seek_artifact
from pipeline.conversations.template import TextEncoder, prompt_ids
from pipeline.store.errors import ConfigError
from pipeline.tokens.chat_template import checked_message, conversation_template
from pipeline.training.start import stored_architecture

PromptForm = Literal["continue", "answer", "fill", "classify", "rewrite"]
MessageForm = Literal["pair", "chat"]
ROLES = ("system", "user", "assistant")


def pair_template(specials: Iterable[str] = ()) -> str:
    """`prompt + bos + answer + eos` per exchange; several turns before an answer are one prompt."""
    return (
        "{% for message in messages %}"
        f"{checked_message(specials)}"
        "{% if message['role'] == 'assistant' %}"
        "{{ bos_token ~ message['content'] ~ eos_token }}"
        "{% else %}"
        "{% if not loop.first and messages[loop.index0 - 1]['role'] != 'assistant' %}"
        "{{ '\\n\\n' }}"
        "{% endif %}"
        "{{ message['content'] }}"
        "{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token }}{% endif %}"
    )


def chat_template(
    prompt_form: PromptForm, message_form: MessageForm, specials: Iterable[str] = ()
) -> str | None:
    """The Jinja template of an exported model; None for one that has no conversations.

    `specials` are the special tokens of its vocabulary, which no message may contain.
    """
    if prompt_form != "answer":
        return None
    make = conversation_template if message_form == "chat" else pair_template
    return make(specials)


def forms_of(checkpoint: Checkpoint, root: Path) -> tuple[PromptForm, MessageForm]:
    """Encoders fill gaps or classify, encoder-decoders rewrite, base models continue; tuned ones
    answer as their examples did.
    """
    architecture = stored_architecture(checkpoint)
    if isinstance(architecture, BertClassifierConfig):
        return "classify", "pair"
    attention = architecture.attention
    if attention != "causal":
        return "rewrite" if attention == "encoder-decoder" else "fill", "pair"
    if checkpoint.stage == "pretrain":
        return "continue", "pair"
    for reference in checkpoint.manifest.inputs:
        if reference.startswith("examples@"):
            examples = seek_artifact(root, reference)
            if isinstance(examples, ExampleSet) and _has_conversations(examples):
                return "answer", "chat"
    return "answer", "pair"


def _has_conversations(examples: ExampleSet) -> bool:
    with open(examples.path / "train.jsonl", encoding="utf-8") as lines:
        return any(json.loads(line).get("messages") for line in lines)


def stop_ids(tokenizer: TextEncoder, form: PromptForm) -> list[int]:
    """The ids that end a continuation, or an answer in either message form."""
    return sorted({tokenizer.eos, tokenizer.end}) if form == "answer" else [tokenizer.eos]


def text_ids(text: str, tokenizer: TextEncoder, form: PromptForm) -> list[int]:
    """The ids before the first generated token for a plain prompt."""
    if form == "answer":
        return prompt_ids(text, tokenizer)
    return [tokenizer.bos, *tokenizer.encode(text)]


def message_ids(
    messages: Sequence[Mapping[str, Any]],
    tokenizer: TextEncoder,
    prompt_form: PromptForm,
    message_form: MessageForm,
) -> list[int]:
    """The ids before the first generated token for a conversation; text never forges a role.

    ConfigError for a base model, an unknown role, or a last turn that is the assistant's.
    """
    if prompt_form != "answer":
        raise ConfigError(
            "this model continues text and was not tuned on conversations; "
            "give it a plain prompt, or ask the tuned model"
        )
    turns = [_turn(message) for message in messages]
    if not turns or turns[-1][0] == "assistant":
        raise ConfigError("messages must end with the user's turn")
    if message_form == "chat":
        return _chat_ids(turns, tokenizer)
    ids: list[int] = []
    asked: list[str] = []
    for role, content in turns:
        if role == "assistant":
            ids += prompt_ids("\n\n".join(asked), tokenizer)
            ids += [*tokenizer.encode(content), tokenizer.eos]
            asked = []
        else:
            asked.append(content)
    return [*ids, *prompt_ids("\n\n".join(asked), tokenizer)]


def _chat_ids(turns: Sequence[tuple[str, str]], tokenizer: TextEncoder) -> list[int]:
    opening = {
        "system": tokenizer.system, "user": tokenizer.user, "assistant": tokenizer.assistant,
    }  # fmt: skip
    ids = [tokenizer.bos]
    for role, content in turns:
        ids += [opening[role], *tokenizer.encode(content), tokenizer.end]
    return [*ids, tokenizer.assistant]


def _turn(message: Mapping[str, Any]) -> tuple[str, str]:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise ConfigError(f"role {role!r:.100} is unknown; use one of {', '.join(ROLES)}")
    if not isinstance(content, str):
        raise ConfigError(f"the content of a message is {content!r:.100}; it must be text")
    return str(role), content
