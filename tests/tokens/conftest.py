"""A small real corpus (texts of the standard library), its tokenizer and its shards, made once."""

import inspect
import json
import textwrap
from pathlib import Path

import pytest

from pipeline.stages.tokenize_corpus import TokenizeConfig, tokenize_corpus
from pipeline.stages.train_tokenizer import TrainedTokenizerConfig, train_tokenizer
from pipeline.store.runtime import Runtime
from pipeline.tokens.shards import shard_paths
from pipeline.tokens.tokenizer import Tokenizer
from tests.tokens.corpora import cleaned_corpus

CHINESE = "我们去公园散步，天气很好。Python语言的list很方便，字典也一样。"
SETTINGS = TrainedTokenizerConfig(vocab_size=600)
SHARDS = TokenizeConfig(validation_fraction=0.1, seed=3, shard_bytes=8192)


def paragraphs():
    """About 200 documents from the sources of three modules, some empty, some Chinese."""
    texts = [
        text
        for module in (inspect, json, textwrap)
        for text in Path(module.__file__).read_text().split("\n\n\n")
    ]
    code = [(f"code/{i}", text) for i, text in enumerate(texts)]
    other = [(f"other/{i}", CHINESE[: i * 3]) for i in range(12)]
    return {"code": code, "other": other}


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("tokens")


@pytest.fixture(scope="session")
def corpus(root):
    return cleaned_corpus(root, paragraphs(), removed={"code": [1, 5]})


@pytest.fixture(scope="session")
def artifact(root, corpus):
    return train_tokenizer(SETTINGS, corpus, root=root, runtime=Runtime())


@pytest.fixture(scope="session")
def tokenizer(artifact):
    return Tokenizer.load(artifact.path)


@pytest.fixture(scope="session")
def shards(root, corpus, artifact):
    return tokenize_corpus(SHARDS, corpus, artifact, root=root, runtime=Runtime())


@pytest.fixture(scope="session")
def train_paths(shards):
    return shard_paths(shards, "train")
