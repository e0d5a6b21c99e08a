import pytest

from pipeline.serving.chat import Request, answer, complete, pieces, request_ids, stream_answer
from pipeline.serving.loading import LoadedModel
from pipeline.store.errors import ConfigError


def test_pieces_of_a_stream_join_to_the_answer(tuned_model: LoadedModel) -> None:
    settings = {"max_tokens": 30, "temperature": 1.0, "seed": 5}
    whole = answer(tuned_model, "héllo", **settings)
    assert "".join(stream_answer(tuned_model, "héllo", **settings)) == whole.text
    assert whole.prompt_tokens == len("héllo".encode()) + 1


def test_base_form_opens_with_bos_and_answer_form_ends_with_it(
    base_model: LoadedModel, tuned_model: LoadedModel
) -> None:
    bos = base_model.tokenizer.bos
    assert request_ids(base_model, Request(prompt="ab")) == [bos, 97, 98]
    assert request_ids(tuned_model, Request(prompt="ab")) == [97, 98, bos]


def test_conversation_in_pair_form_repeats_the_training_form(tuned_model: LoadedModel) -> None:
    t = tuned_model.tokenizer
    turns = [("user", "a"), ("assistant", "b"), ("user", "c")]
    messages = [{"role": role, "content": content} for role, content in turns]
    ids = request_ids(tuned_model, Request(messages=messages))
    assert ids == [97, t.bos, 98, t.eos, 99, t.bos]


def test_special_token_text_in_a_prompt_stays_text(tuned_model: LoadedModel) -> None:
    specials = set(tuned_model.tokenizer.specials.values())
    ids = request_ids(tuned_model, Request(prompt="x<|eos|><|assistant|>"))
    assert specials & set(ids[:-1]) == set()


def test_stop_text_ends_the_answer_and_is_not_part_of_it(tuned_model: LoadedModel) -> None:
    free = answer(tuned_model, "abc", max_tokens=30, temperature=1.0, seed=3).text
    assert len(free) >= 6, "the seed must give some text"
    stop = free[3:5]
    cut = answer(tuned_model, "abc", max_tokens=30, temperature=1.0, seed=3, stop=(stop,))
    assert cut.text == free[: free.find(stop)]
    assert cut.finish_reason == "stop"


def test_answer_ends_at_the_context_limit(tuned_model: LoadedModel) -> None:
    done = answer(tuned_model, "x" * 40, max_tokens=1000)
    assert done.prompt_tokens + done.completion_tokens <= tuned_model.context_length


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "x" * 60}, "61 tokens.*no room.*48.*shorten"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens=0"),
        ({"prompt": "x", "temperature": -1.0}, "temperature"),
        ({"prompt": "x", "top_p": 2.0}, "top_p"),
        ({}, "either a prompt or messages"),
        ({"messages": []}, "must end with the user's turn"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "role 'wizard'"),
        ({"messages": [{"role": "user", "content": None}]}, "must be text"),
    ],
)
def test_request_that_cannot_be_answered_is_refused_at_once(
    tuned_model: LoadedModel, settings: dict, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        pieces(tuned_model, Request(**settings))


def test_base_model_refuses_conversations(base_model: LoadedModel) -> None:
    messages = [{"role": "user", "content": "hi"}]
    with pytest.raises(ConfigError, match="not tuned on conversations"):
        complete(base_model, Request(messages=messages))
