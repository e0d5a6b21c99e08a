"""The template an exported tokenizer carries renders the ids that were trained, or refuses."""

from typing import Any

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError

from pipeline.conversations.example import Example, Message
from pipeline.conversations.template import chat_prompt_ids, segments
from pipeline.serving.forms import message_ids, pair_template
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.tokenizer import (
    SPECIALS,
    Tokenizer,
    with_more_specials,
    with_our_specials,
)

# Every piece is two earlier ones joined, as learning a vocabulary makes them.
MERGED = (b"th", b"the", b" the", "中文".encode()[:2], "中".encode(), "文".encode()[:2],
          "文".encode(), "中文".encode(), b"\n\n")  # fmt: skip
RANKS = {bytes([i]): i for i in range(256)} | {p: 256 + i for i, p in enumerate(MERGED)}
PATTERN = r"\s?\w+|\s?[^\s\w]+|\s+"
PIECES = st.sampled_from([
    "the", " the", "\n", "\n\n", "  ", "中文", "👩\u200d👧", "e\u0301", "\ufeff", "\0", "\x1b[0m",
    "{{ x }}", "{% raw %}", "<|", "|>", "<|en", "d|>", "user", "[INST]", "</s>", "\\n", "'\"",
    "\u2028", "\r\n",
])  # fmt: skip
TEXT = st.one_of(
    st.lists(PIECES, max_size=6).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
).filter(lambda text: not any(marker in text for marker in SPECIALS))
TURNS = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXT), min_size=1, max_size=6
)


@pytest.fixture(scope="module")
def ours() -> Tokenizer:
    return with_our_specials("merged", PATTERN, RANKS)


@pytest.fixture(scope="module")
def theirs(ours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    write_huggingface(ours, folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


def rendered(theirs, turns, **options) -> list[int]:
    messages = [{"role": role, "content": text} for role, text in turns]
    text = theirs.apply_chat_template(messages, tokenize=False, **options)
    return list(theirs(text, add_special_tokens=False).input_ids)


@settings(max_examples=150, deadline=None)
@given(TURNS)
def test_generated_conversations_render_to_the_trained_ids(ours, theirs, turns):
    messages = tuple(Message(*turn) for turn in turns)
    assert rendered(theirs, turns) == segments(Example("", "", "", messages=messages), ours).ids
    asked = rendered(theirs, turns, add_generation_prompt=True)
    assert asked == chat_prompt_ids(messages, ours)


@settings(max_examples=60, deadline=None)
@given(TURNS.filter(lambda turns: turns[-1][0] != "assistant"))
def test_generated_conversations_render_to_what_is_served_in_pairs(ours, theirs, turns):
    messages = [{"role": role, "content": text} for role, text in turns]
    found = rendered(theirs, turns, add_generation_prompt=True, chat_template=pair_template())
    assert found == message_ids(messages, ours, "answer", "pair")


@pytest.mark.parametrize("marker", SPECIALS)
@pytest.mark.parametrize("template", [None, pair_template()], ids=["chat", "pair"])
def test_a_marker_in_a_message_is_refused_where_it_would_forge_a_turn(theirs, marker, template):
    turns = [("user", f"a{marker}b")]
    options = {} if template is None else {"chat_template": template}
    with pytest.raises(TemplateError, match="which would be read as a token"):
        rendered(theirs, turns, **options)


QUOTING = '<|"it\'s"\\n%}|>'


@pytest.fixture(scope="module")
def with_more(ours: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("more")
    write_huggingface(with_more_specials(ours, ["<|tool|>", QUOTING], mask=True), folder)
    return transformers.AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("marker", ["<|mask|>", "<|tool|>", QUOTING])
@pytest.mark.parametrize("form", ["chat", "pair"])
def test_special_tokens_added_to_a_vocabulary_are_refused_too(
    with_more: Any, ours: Tokenizer, marker: str, form: str
) -> None:
    specials = with_more.get_added_vocab()
    options = {} if form == "chat" else {"chat_template": pair_template(specials)}
    assert "ab" in with_more.decode(rendered(with_more, [("user", "ab")], **options))
    with pytest.raises(TemplateError, match="which would be read as a token"):
        rendered(with_more, [("user", f"a{marker}b")], **options)


@pytest.mark.parametrize("template", [None, pair_template()], ids=["chat", "pair"])
@pytest.mark.parametrize(("message", "told"), [
    ({"role": "user", "content": [{"type": "text", "text": "hi"}]}, "must be text"),
    ({"role": "user", "content": None}, "must be text"),
    ({"role": "user", "content": 3}, "must be text"),
    ({"role": "user"}, "must be text"),
    ({"role": "tool", "content": "x"}, "use system, user or assistant"),
    ({"role": "User", "content": "x"}, "use system, user or assistant"),
])  # fmt: skip
def test_a_message_that_is_no_text_of_a_known_role_is_refused(
    theirs: Any, template: str | None, message: dict[str, Any], told: str
) -> None:
    options = {} if template is None else {"chat_template": template}
    with pytest.raises(TemplateError, match=told):
        theirs.apply_chat_template([message], tokenize=False, **options)
