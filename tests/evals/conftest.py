import pytest
import torch

from model.architectures import GPT2Config
from tests.conversations.byte_tokenizer import ByteTokenizer


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def tokenizer():
    return ByteTokenizer()


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=263, context_length=16, width=32, layers=2, heads=2)
    built = config.build()
    with torch.no_grad():  # far from uniform, so that a wrong prefix would show
        built.head_weight.mul_(8)
    return built.eval()
