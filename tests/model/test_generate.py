"""Generation: the cache changes nothing, rows do not disturb each other, limits are named."""

import pytest
import torch

from model.attention import KVCache
from model.errors import ContextLengthError, ModelError
from model.generate import generate, stream
from model.sampling import Sampling
from tests.model.conftest import tokens

PROMPTS = [[5, 6, 7], [9, 8, 7, 6, 5, 4], [3]]


def greedy_loop(model, prompt, max_tokens):
    """The definition: the whole sequence through the model for every token."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(max_tokens):
            ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


def test_greedy_is_the_argmax_loop(model):
    expected = [greedy_loop(model, prompt, 20) for prompt in PROMPTS]
    assert generate(model, PROMPTS, 20) == expected


def test_cached_logits_equal_uncached_ones(model):
    inputs = tokens(2, 20)
    with torch.no_grad():
        whole = model.hidden(inputs)
        cache = KVCache(max_tokens=20)
        pieces = [
            model.hidden(inputs[:, start:stop], cache=cache)
            for start, stop in ((0, 7), (7, 8), (8, 9), (9, 15), (15, 20))
        ]
    cached = torch.cat(pieces, dim=1) @ model.head_weight.T
    assert (cached - whole @ model.head_weight.T).abs().max() <= 1e-5


def test_a_row_does_not_depend_on_its_neighbours(family_model):
    together = generate(family_model, PROMPTS, 15, temperature=1.0, seed=40)
    for row, prompt in enumerate(PROMPTS):
        alone = generate(family_model, [prompt], 15, temperature=1.0, seed=40 + row)
        assert alone == [together[row]]


def test_seed_repeats_and_another_seed_differs(family_model):
    first = generate(family_model, PROMPTS, 15, temperature=1.0, top_k=20, seed=1)
    assert generate(family_model, PROMPTS, 15, temperature=1.0, top_k=20, seed=1) == first
    assert generate(family_model, PROMPTS, 15, temperature=1.0, top_k=20, seed=2) != first


def test_stop_ids_end_a_row_and_are_not_returned(family_model):
    free = generate(family_model, PROMPTS, 15, temperature=1.5, seed=7)
    stop = free[0][6]
    stopped = generate(family_model, PROMPTS, 15, temperature=1.5, seed=7, stop_ids=(stop,))
    for row, answer in enumerate(free):
        end = answer.index(stop) if stop in answer else len(answer)
        assert stopped[row] == answer[:end]


def test_stream_yields_what_generate_returns(family_model):
    streamed = [[], [], []]
    for new in stream(family_model, PROMPTS, 9, Sampling(temperature=1.0), seed=3):
        streamed[new.row].append(new.token)
    assert streamed == generate(family_model, PROMPTS, 9, temperature=1.0, seed=3)


def test_stream_tells_that_a_row_stopped(family_model):
    (token,) = generate(family_model, [[5]], 1)[0]
    new = list(stream(family_model, [[5]], 9, stop_ids=[token]))
    assert [(n.token, n.stopped) for n in new] == [(token, True)]


def test_rows_end_at_the_context_each_on_its_own(model):
    long, short = tokens(1, 45)[0].tolist(), [5, 6]
    answers = generate(model, [long, short], 60)
    assert [len(answer) for answer in answers] == [3, 46]
    assert answers[1] == greedy_loop(model, short, 46)


def test_repetition_penalty_lowers_seen_tokens(family_model):
    plain = generate(family_model, [[5, 6, 7]], 40)[0]
    varied = generate(family_model, [[5, 6, 7]], 40, repetition_penalty=5.0)[0]
    assert len(set(varied)) > len(set(plain))


def test_bad_prompts_are_refused_with_value_limit_and_remedy(family_model):
    with pytest.raises(ContextLengthError, match="48 tokens.*context of 48.*at most 47"):
        generate(family_model, [[1] * 48], 4)
    with pytest.raises(ModelError, match="empty"):
        generate(family_model, [[1], []], 4)
    with pytest.raises(ModelError, match="id 97.*0 to 96"):
        generate(family_model, [[1, 97]], 4)
    with pytest.raises(ModelError, match="max_tokens=0"):
        generate(family_model, [[1]], 0)
    with pytest.raises(ValueError, match="top_p=1.5"):
        generate(family_model, [[1]], 4, temperature=1.0, top_p=1.5)


def test_stream_refuses_before_the_first_token(family_model):
    with pytest.raises(ContextLengthError):
        stream(family_model, [[1] * 48], 4)


def test_no_prompts_give_no_answers(family_model):
    assert generate(family_model, [], 4) == []
