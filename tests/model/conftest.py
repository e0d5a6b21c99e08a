"""Tiny models of every architecture with weights large enough that mistakes show."""

from dataclasses import replace

import pytest
import torch

from model.architectures import BertConfig, GPT2Config, Initialization, LlamaConfig, Qwen3Config

INIT = Initialization(std=0.15, embedding_std=0.5, head_std=0.2)
GPT2 = GPT2Config(vocab_size=97, context_length=48, width=32, layers=2, heads=4, init=INIT)
LLAMA = LlamaConfig(
    vocab_size=97, context_length=48, width=32, layers=2, heads=4, kv_heads=2, hidden_width=56,
    tied_head=False, rope_theta=10_000.0, init=INIT,
)  # fmt: skip
QWEN3 = Qwen3Config(
    vocab_size=97, context_length=48, width=32, layers=2, heads=4, kv_heads=2, head_width=12,
    hidden_width=56, init=INIT,
)  # fmt: skip
BERT = BertConfig(
    vocab_size=97, context_length=48, width=32, layers=2, heads=4, hidden_width=56, init=INIT
)
TINY = {
    "gpt2": GPT2,
    "gpt2-sinusoidal": replace(GPT2, positions="sinusoidal"),
    "gpt2-exact-gelu": replace(GPT2, activation="gelu"),
    "gpt2-biasless": replace(GPT2, bias=False, tied_head=False),
    "llama": LLAMA,
    "qwen3": QWEN3,
    "qwen3-relu2": replace(QWEN3, hidden_act="relu2", tied_head=False),
}


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(params=list(TINY))
def config(request):
    return TINY[request.param]


@pytest.fixture(params=["gpt2", "llama", "qwen3"])
def family(request):
    """One configuration per family, where the variants add nothing."""
    return TINY[request.param]


def random_weights(model, seed=0):
    """Norms and biases away from their neutral start, so that a lost one is noticed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                draw = torch.empty(parameter.shape).normal_(0.0, 0.2, generator=generator)
                parameter.copy_(draw + (1.0 if name.endswith("weight") else 0.0))
    return model


@pytest.fixture
def model(config):
    return random_weights(config.build(seed=1))


@pytest.fixture
def family_model(family):
    return random_weights(family.build(seed=1))


def tokens(rows, length, seed=0, vocab_size=97):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocab_size, (rows, length), generator=generator)
