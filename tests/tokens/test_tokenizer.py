import json
import random
import re

import pytest
import rustbpe
import transformers
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.artifacts import TrainedTokenizer
from pipeline.stages.train_tokenizer import TrainedTokenizerConfig, train_tokenizer
from pipeline.store.errors import ArtifactError, ConfigError, DataError
from pipeline.store.runtime import Runtime
from pipeline.tokens import training
from pipeline.tokens.describe import BOUNDARY, inspect_text, inspect_tokenizer, show_tokens
from pipeline.tokens.huggingface import write_huggingface
from pipeline.tokens.patterns import PATTERNS
from pipeline.tokens.tokenizer import PIECE_CHARACTERS, SPECIALS, Tokenizer
from pipeline.tokens.training import even_shares, train_ranks
from tests.tokens.conftest import paragraphs
from tests.tokens.corpora import cleaned_corpus

# Characters on which split patterns and engines are known to differ, beside all of Unicode.
ALPHABET = (
    "aZsSſtTlLvVeEdDmMrR'’ \t\n\r\x0b\x0c\x1c\x85\xa0\u2028\u3000019½٣Ⅷ_-/!?.,;:~^"
    "éßıİǅʰ\u0301\u200d\ufe0f的语言，。々〇⺀ひカ한ไทยअ😀👩🏽\ud7ff\ue000\ufffd\U0010ffff<|>"
)
TEXT = st.one_of(
    st.text(alphabet=ALPHABET, max_size=60),
    st.text(max_size=60),
    st.lists(
        st.sampled_from([*"a 1\n'", "'ll", "  ", "\r\n", "12345", "Don", "的", *SPECIALS])
    ).map("".join),
).filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


@pytest.fixture(scope="session", params=sorted(PATTERNS))
def three(request, tmp_path_factory):
    """The trainer's own encoder, tiktoken through our Tokenizer, and transformers, one pattern."""
    texts = [text for rows in paragraphs().values() for _, text in rows] * 2
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(texts), 600 - len(SPECIALS), pattern=PATTERNS[request.param])
    ours = train_ranks(
        lambda: texts, vocab_size=600, pattern=PATTERNS[request.param], min_pair_count=1
    ).tokenizer
    directory = tmp_path_factory.mktemp(request.param)
    write_huggingface(ours, directory)
    return trainer, ours, transformers.AutoTokenizer.from_pretrained(directory)


@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example(text="I'LL don'ſ 'Sx")
@example(text="  \n\n \r\n x\t'more  ")
def test_three_encoders_agree_on_any_text(three, text):
    trainer, ours, theirs = three
    ids = ours.encode(text)
    assert trainer.encode(text) == ids
    assert theirs.encode(text, split_special_tokens=True) == ids
    assert ours.decode(ids) == text == theirs.decode(ids)


def test_three_encoders_agree_on_every_character(three):
    """Each assigned block of Unicode beside a letter, a digit and a space."""
    trainer, ours, theirs = three
    random_points = random.Random(0).sample(range(0x20, 0x110000), 3000)
    characters = [chr(p) for p in random_points if not 0xD800 <= p < 0xE000]
    text = "".join(f"{c}a{c}1 {c}\n" for c in characters)
    assert trainer.encode(text) == ours.encode(text) == theirs.encode(text)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=200))
def test_any_text_survives_encoding_and_yields_no_special_token(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(i < len(tokenizer.ranks) for i in ids)


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(st.one_of(st.sampled_from(SPECIALS), st.text(max_size=5))))
def test_special_token_names_in_text_are_ordinary_characters(tokenizer, parts):
    ids = tokenizer.encode("".join(parts))
    assert not set(ids) & set(tokenizer.specials.values())
    assert tokenizer.decode(ids) == "".join(parts)


def test_lone_surrogates_become_the_replacement_character(tokenizer):
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_endless_white_space_is_encoded_whole(tokenizer):
    text = "x" + " " * (12 * PIECE_CHARACTERS) + "y"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_special_tokens_follow_the_ranks_in_contract_order(tokenizer):
    ids = [tokenizer.bos, tokenizer.eos, tokenizer.pad, tokenizer.system, tokenizer.user,
           tokenizer.assistant, tokenizer.end]  # fmt: skip
    assert ids == list(range(593, 600))
    assert tokenizer.vocab_size == 600 == len(tokenizer.table)
    assert tokenizer.decode(ids) == "".join(SPECIALS)


def test_huggingface_form_adds_no_special_token_and_renders_conversations(artifact, tokenizer):
    theirs = transformers.AutoTokenizer.from_pretrained(artifact.path / "hf")
    assert theirs("hello").input_ids == tokenizer.encode("hello")
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (593, 594, 595)
    messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes"}]
    ids = theirs.apply_chat_template(messages, tokenize=True, return_dict=False)
    t = tokenizer
    assert ids == [
        t.bos, t.user, *t.encode("hi"), t.end, t.assistant, *t.encode("yes"), t.end
    ]  # fmt: skip
    asked = theirs.apply_chat_template(messages[:1], tokenize=False, add_generation_prompt=True)
    assert asked == "<|bos|><|user|>hi<|end|><|assistant|>"


def test_id_outside_the_vocabulary_is_refused(tokenizer):
    with pytest.raises(ConfigError, match="600 is outside the vocabulary of 600"):
        tokenizer.decode([600])


def test_training_twice_gives_the_same_tokenizer(corpus, artifact, tmp_path):
    settings = TrainedTokenizerConfig(vocab_size=600)
    again = train_tokenizer(settings, corpus, root=tmp_path, runtime=Runtime(workers=2))
    assert again.fingerprint == artifact.fingerprint
    assert again.manifest.files == artifact.manifest.files


def test_facts_say_how_well_text_is_compressed(artifact, tokenizer):
    facts = artifact.facts
    texts = [t for s, rows in paragraphs().items() for i, (_, t) in enumerate(rows)
             if (s, i) not in (("code", 1), ("code", 5))]  # fmt: skip
    tokens = sum(len(tokenizer.encode(text)) for text in texts)
    size = sum(len(text.encode()) for text in texts)
    assert facts["sample_bytes"] == size
    assert facts["bytes_per_token"] == pytest.approx(size / tokens, abs=1e-4)
    assert facts["bytes_per_token"] > 1.5
    runs = re.findall("[\u4e00-\u9fff]+", "".join(f"{text} " for text in texts))
    assert facts["han_characters"] == sum(map(len, runs)) > 50
    spent = sum(len(tokenizer.encode(run)) for run in runs)
    assert facts["tokens_per_han_character"] == round(spent / facts["han_characters"], 4)


def test_compression_is_measured_on_texts_spread_over_the_sample(monkeypatch):
    """Every fifth of a hundred texts: about a fifth of their bytes."""
    monkeypatch.setattr(training, "MEASURED_BYTES", 100)
    texts = [f"{i:05d}" for i in range(100)]
    trained = train_ranks(lambda: texts, vocab_size=264, pattern=PATTERNS["gpt2"], min_pair_count=1)
    assert (trained.sample_bytes, trained.measured.bytes) == (500, 100)


def test_a_source_of_one_huge_document_gives_its_beginning(tmp_path):
    """Neither nothing (its hash lies beyond the share) nor all 300 kB of it."""
    huge = "".join(f"line {i} of a long book, 第{i}章\n" for i in range(9_000))
    corpus = cleaned_corpus(
        tmp_path, {"book": [("book/0", huge)], "web": [("web/0", "short " * 9)]}
    )
    settings = TrainedTokenizerConfig(vocab_size=300, sample_bytes=20_000)
    facts = train_tokenizer(settings, corpus, root=tmp_path, runtime=Runtime()).facts
    assert 19_990 <= facts["sample_bytes"] <= 20_000


def test_vocabulary_beyond_the_data_names_the_largest_possible_one(root, corpus):
    with pytest.raises(ConfigError, match="vocab_size=50000 exceeds the") as caught:
        train_tokenizer(
            TrainedTokenizerConfig(vocab_size=50_000), corpus, root=root, runtime=Runtime()
        )
    possible = int(str(caught.value).split("at most ")[1].split(",")[0])
    settings = TrainedTokenizerConfig(vocab_size=possible)
    made = train_tokenizer(settings, corpus, root=root, runtime=Runtime())
    assert made.vocab_size == possible
    with pytest.raises(ConfigError, match=f"vocab_size={possible + 1} exceeds"):
        settings = TrainedTokenizerConfig(vocab_size=possible + 1)
        train_tokenizer(settings, corpus, root=root, runtime=Runtime())


def test_every_merge_occurs_as_often_as_demanded():
    """`ab` is made three times and `abab` once, so with two occurrences only `ab` is a merge."""

    def train(vocab_size):
        return train_ranks(
            lambda: ["abab", "ab"],
            vocab_size=vocab_size,
            pattern=PATTERNS["gpt2"],
            min_pair_count=2,
        )

    assert {token for token in train(264).tokenizer.ranks if len(token) > 1} == {b"ab"}
    with pytest.raises(ConfigError, match="vocab_size=265 exceeds the 264 that 6 bytes"):
        train(265)


def test_vocabulary_below_bytes_and_specials_is_refused(root, corpus):
    with pytest.raises(ConfigError, match="vocab_size=262 is below 263"):
        train_tokenizer(
            TrainedTokenizerConfig(vocab_size=262), corpus, root=root, runtime=Runtime()
        )


def test_empty_corpus_is_refused(tmp_path):
    corpus = cleaned_corpus(tmp_path, {"none": []})
    with pytest.raises(DataError, match="no text"):
        train_tokenizer(TrainedTokenizerConfig(), corpus, root=tmp_path, runtime=Runtime())


def test_sample_takes_even_shares_and_passes_on_what_small_sources_lack():
    shares = even_shares({"small": 100, "big": 10_000, "huge": 40_000}, 4_100)
    assert shares == {"small": 1.0, "big": 0.2, "huge": 0.05}
    assert even_shares({"a": 10}, 1_000) == {"a": 1.0}


@pytest.mark.parametrize("name", range(6))
def test_one_endless_line_among_short_ones_still_gives_half_of_the_sample(tmp_path, name):
    """Whatever its place in line: by chance alone only the short ones might be taken."""
    rows = [(f"line/{name}", "many words and more " * 20_000), (f"short/{name}", "a few words")]
    corpus = cleaned_corpus(tmp_path, {"s": rows})
    settings = TrainedTokenizerConfig(vocab_size=270, sample_bytes=20_000)
    made = train_tokenizer(settings, corpus, root=tmp_path, runtime=Runtime())
    assert 10_000 <= made.facts["sample_bytes"] <= 30_000


def test_damaged_ranks_are_refused(artifact, tmp_path):
    for name in ("tokenizer.json", "tokenizer.tiktoken"):
        (tmp_path / name).write_bytes((artifact.path / name).read_bytes())
    ranks = tmp_path / "tokenizer.tiktoken"
    ranks.write_bytes(ranks.read_bytes().replace(b"300\n", b"301\n", 1))
    with pytest.raises(ArtifactError, match="tokenizer.tiktoken is damaged"):
        Tokenizer.load(tmp_path)


def test_description_names_what_fixes_the_encoding(artifact, tokenizer):
    description = json.loads((artifact.path / "tokenizer.json").read_text())
    assert description["pattern"] == PATTERNS["cl100k"]
    assert description["specials"] == dict(tokenizer.specials)
    assert (
        description["sha256"]
        == tokenizer.sha256
        == TrainedTokenizer.open(artifact.path).facts["sha256"]
    )


def test_inspection_shows_every_token_and_its_bytes(tokenizer):
    tokens = inspect_tokenizer(tokenizer, "a 的\n")
    assert b"".join(token.bytes for token in tokens) == "a 的\n".encode()
    assert show_tokens(tokenizer, tokenizer.encode("\n\t")).replace(BOUNDARY, "") == "\\n\\t"
    assert (
        inspect_text(tokenizer, "a 的\n").splitlines()[0].endswith("tokens, 6 bytes, 4 characters")
    )
