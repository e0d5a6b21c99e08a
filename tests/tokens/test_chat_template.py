"""The template an exported tokenizer carries renders the ids that were trained, or refuses."""

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError

from pipeline.conversations.example import Example, Message
from pipeline.conversations.template import chat_prompt_ids, segments
from pipeline.serving.forms import PAIR_TEMPLATE, message_ids
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.tokenizer import SPECIALS, Tokenizer, with_our_specials

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
    found = rendered(theirs, turns, add_generation_prompt=True, chat_template=PAIR_TEMPLATE)
    assert found == message_ids(messages, ours, "answer", "pair")


@pytest.mark.parametrize("marker", SPECIALS)
@pytest.mark.parametrize("template", [None, PAIR_TEMPLATE], ids=["chat", "pair"])
def test_a_marker_in_a_message_is_refused_where_it_would_forge_a_turn(theirs, marker, template):
    turns = [("user", f"a{marker}b")]
    options = {} if template is None else {"chat_template": template}
    with pytest.raises(TemplateError, match="which would be read as a token"):
        rendered(theirs, turns, **options)
