import pytest

from tests.conversations.byte_tokenizer import ByteTokenizer


@pytest.fixture
def tokenizer():
    return ByteTokenizer()
