"""What the concepts say of models and decoding, and no test beside the code says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model.generate import generate
from model.gpt2 import GPT2Config
from model.huggingface_config import config_from_huggingface
from model.language_model import Initialization
from model.layers import sinusoidal_positions
from model.loss import logits_nll
from model.sampling import Sampling, filter_logits
from pipeline.conversations.splits import distinct
from pipeline.evals.perplexity import score_documents, summarise
from tests.conversations.byte_tokenizer import ByteTokenizer

SMALL = GPT2Config(vocab_size=263, context_length=32, width=32, layers=2, heads=2)
RELEASED = {  # config.json of the released GPT-2 small
    "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
    "bos_token_id": 50256, "embd_pdrop": 0.1, "eos_token_id": 50256, "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": 1024, "n_embd": 768, "n_head": 12,
    "n_layer": 12, "n_positions": 1024, "resid_pdrop": 0.1, "summary_activation": None,
    "summary_first_dropout": 0.1, "summary_proj_to_labels": True, "summary_type": "cls_index",
    "summary_use_proj": True, "task_specific_params":
    {"text-generation": {"do_sample": True, "max_length": 50}}, "vocab_size": 50257,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model():
    """Weights large enough that every step depends on all before it."""
    init = Initialization(std=0.3, embedding_std=0.5, head_std=0.5)
    return replace(SMALL, init=init, tied_head=False).build(seed=3).eval()


def test_ten_ids_become_vectors_of_768_and_scores_of_the_vocabulary():
    model = GPT2Config(vocab_size=50, context_length=16, layers=1).build().eval()
    ids = torch.tensor([[2, 5, 6, 1, 8, 7, 6, 0, 0, 0]])
    assert model.embedding(ids).shape == (1, 10, 768)
    assert model.hidden(ids).shape == (1, 10, 768)
    assert model(ids).shape == (1, 10, 50)


@pytest.mark.parametrize("width", [256, 512, 768])
def test_embedding_width_is_a_setting(width):
    config = GPT2Config(vocab_size=50, context_length=8, width=width, layers=1, heads=4)
    assert config.build().embedding.weight.shape == (50, width)


def test_the_released_shape_is_the_default_architecture():
    config = config_from_huggingface(RELEASED)
    assert config == GPT2Config()
    assert (config.vocab_size, config.width, config.context_length) == (50257, 768, 1024)
    assert config.num_parameters() == 124_439_808


def test_a_shorter_context_and_no_biases_cost_less():
    full = GPT2Config()
    short, biasless = replace(full, context_length=256), replace(full, bias=False)
    assert full.num_parameters() - short.num_parameters() == (1024 - 256) * 768
    assert short.flops_per_token() < full.flops_per_token()
    assert biasless.num_parameters() < full.num_parameters()


def test_an_untrained_model_is_no_better_than_guessing():
    ids = torch.randint(0, 263, (4, 32), generator=torch.Generator().manual_seed(0))
    nats = logits_nll(SMALL.build(seed=1)(ids[:, :-1]), ids[:, 1:]).mean().item()
    assert nats == pytest.approx(math.log(263), abs=0.1)


def test_two_untrained_models_babble_differently():
    first, second = (SMALL.build(seed=seed).eval() for seed in (1, 2))
    texts = [generate(m, [[1]], 20, temperature=1.0, seed=0) for m in (first, second)]
    assert texts[0] != texts[1]
    assert len(set(texts[0][0])) > 10  # of 20: no word is favoured yet


def test_perplexity_is_the_exponential_of_the_cross_entropy(model):
    tokenizer, text = ByteTokenizer(), "abc def, ghi."
    documents = {"doc_id": ["a"], "text": [text], "source": ["s"]}
    scores = score_documents(model, tokenizer, documents, context=32, stride=16)
    summary = summarise(scores, context=32, stride=16, draws=10, seed=0)
    ids = torch.tensor([[tokenizer.bos, *tokenizer.encode(text)]])
    cross_entropy = F.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:]).item()
    assert summary["nats_per_token"] == pytest.approx(cross_entropy, rel=1e-5)
    assert summary["token_perplexity"] == pytest.approx(math.exp(cross_entropy), rel=1e-4)


def test_generation_goes_from_bos_one_token_at_a_time_until_the_end_symbol(model):
    row, expected = [1], []
    for _ in range(12):
        following = int(model(torch.tensor([row]))[0, -1].argmax())
        expected.append(following)
        row.append(following)
    assert generate(model, [[1]], 12) == [expected]
    assert len(set(expected)) > 3
    end = expected[5]
    assert generate(model, [[1]], 12, stop_ids=[end]) == [expected[: expected.index(end)]]


def test_temperature_and_top_k_work_together():
    logits = torch.tensor([[4.0, 1.0, 3.0, 2.0, 0.0]])
    kept = filter_logits(logits, Sampling(temperature=0.5, top_k=3))
    assert kept.isinf().tolist() == [[False, True, False, False, True]]
    assert (kept - kept.max())[0, [0, 2, 3]].tolist() == [0.0, -2.0, -4.0]  # -1 and -2, doubled
    probabilities = kept.softmax(-1)
    assert probabilities[0, [1, 4]].tolist() == [0.0, 0.0]
    assert probabilities[0, 0] / probabilities[0, 2] == pytest.approx(math.exp(2.0))


def test_sampling_draws_only_among_the_k_likeliest(model):
    best = set(model(torch.tensor([[1]]))[0, -1].topk(3).indices.tolist())
    drawn = {
        generate(model, [[1]], 1, temperature=2.0, top_k=3, seed=seed)[0][0] for seed in range(40)
    }
    assert drawn <= best and len(drawn) > 1


def test_examples_in_the_prompt_change_the_answer_and_not_the_weights(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    task, example, question = [20, 21], [7, 9, 12, 5], [7, 9, 11]
    prompts = [[1, *task, *(example * shots), *question] for shots in (0, 1, 3)]
    answers = generate(model, prompts, 6)
    assert len(set(map(tuple, answers))) == 3
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_diversity_is_the_share_of_word_ngrams_that_differ():
    assert distinct(["a b a b"], 1) == 0.5
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct(["a b", "c d"], 2) == 1.0
    assert distinct([], 2) == 0.0


def test_positions_of_the_paper_have_wavelengths_that_grow_with_the_dimension():
    table = sinusoidal_positions(2000, 16).numpy()
    crossings = [int((np.diff(np.sign(table[:, column])) != 0).sum()) for column in range(0, 16, 2)]
    assert crossings == sorted(crossings, reverse=True) and crossings[0] > 100 * crossings[-1]
