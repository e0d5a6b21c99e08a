import numpy as np
import pytest

from pipeline.evals.baselines_ngram import (
    count_ngrams,
    discounts,
    document_nats,
    kneser_ney,
    places,
)
from pipeline.evals.baselines_ngram_pruned import entry_bytes, load_pruned, prune
from pipeline.store.errors import ConfigError

V, BOS, EOS = 20, 18, 19


def stream(*documents):
    rows = [[BOS, *document, EOS] for document in documents]
    starts = np.cumsum([0, *map(len, rows)])[:-1]
    return np.concatenate(rows).astype(np.int64), starts


def counted(tokens, starts, order=5):
    return count_ngrams(tokens, places(len(tokens), starts), vocab_size=V, order=order)


@pytest.fixture(scope="module")
def text():
    rng = np.random.default_rng(0)
    documents = [
        np.minimum(rng.geometric(0.3, rng.integers(0, 60)) - 1, 17).tolist() for _ in range(150)
    ]
    return stream(*documents)


HISTORIES = [
    [BOS], [BOS, 0], [BOS, 3, 1, 0], [BOS, 0, 0, 0, 0, 1], [BOS, 17, 16, 15],
    [BOS, 5, 17, 0, 1, 2, 0],
]  # fmt: skip


@pytest.mark.parametrize("history", HISTORIES)
def test_probabilities_sum_to_one_over_the_vocabulary(text, history):
    counts = counted(*text)
    models = [kneser_ney(counts, vocab_size=V)]
    models += [
        load_pruned(prune(counts, vocab_size=V, max_bytes=n).data) for n in (None, 4000, 700)
    ]
    for model in models:
        distribution = model.distribution(history)
        assert distribution.min() > 0
        assert distribution.sum() == pytest.approx(1.0, abs=1e-9)


def test_bigrams_by_hand():
    # Two documents: bos 1 2 eos, bos 1 3 eos.
    tokens, starts = stream([1, 2], [1, 3])
    counts = counted(tokens, starts, order=2)
    model = kneser_ney(counts, vocab_size=V)
    # Distinct left neighbours: 1 has {bos}, 2 has {1}, 3 has {1}, eos has {2, 3}: 5 in all.
    assert dict(zip((counts[0].keys % V).tolist(), counts[0].adjusted.tolist(), strict=True)) == {
        1: 1, 2: 1, 3: 1, BOS: 0, EOS: 2
    }  # fmt: skip
    d = discounts(counts[0].adjusted)
    assert d.tolist() == pytest.approx([0, 1 - 2 * (3 / 5) * (1 / 3), 1.95, 2.95])
    left_over = (3 * d[1] + d[2]) / 5
    unigram = {2: (1 - d[1]) / 5 + left_over / V}
    # Bigrams keep their raw counts: 1 2, 1 3, 2 eos and 3 eos once, bos 1 twice.
    e = discounts(counts[1].adjusted)
    expected = (1 - e[1]) / 2 + (2 * e[1]) / 2 * unigram[2]
    assert model.distribution([BOS, 1])[2] == pytest.approx(expected)


def test_continuation_counts_are_distinct_left_neighbours(text):
    tokens, starts = text
    counts = counted(tokens, starts, order=3)
    neighbours = {}
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        row = tokens[start:stop].tolist()
        for i in range(2, len(row)):
            neighbours.setdefault((row[i - 1], row[i]), set()).add(row[i - 2])
    unigrams = counts[0].keys % V
    for key, adjusted, raw in zip(counts[1].keys, counts[1].adjusted, counts[1].raw, strict=True):
        first, second = int(unigrams[key // V]), int(key % V)
        if first == BOS:
            assert adjusted == raw  # nothing stands before a bos
        else:
            assert adjusted == len(neighbours[(first, second)])


def test_no_ngram_crosses_a_document(text):
    tokens, starts = text
    counts = counted(tokens, starts, order=2)
    seconds = counts[1].keys % V
    assert BOS not in seconds
    assert counts[1].raw.sum() == len(tokens) - len(starts)


def test_the_first_token_is_given_bos_and_eos_is_not_scored():
    tokens, starts = stream([1, 2], [1, 3])
    model = kneser_ney(counted(tokens, starts), vocab_size=V)
    held_out = np.array([BOS, 1, 2, BOS, 3])
    nats = document_nats(model, held_out, np.array([0, 3]))
    first = -np.log(model.distribution([BOS])[1]) - np.log(model.distribution([BOS, 1])[2])
    assert nats == pytest.approx([first, -np.log(model.distribution([BOS])[3])])


def test_a_document_scores_the_same_alone_and_among_others(text):
    model = kneser_ney(counted(*text), vocab_size=V)
    documents = [[BOS, 1, 0, 2], [BOS], [BOS, 4, 4, 0, 1, 1, 0]]
    starts = np.cumsum([0, *map(len, documents)])[:-1]
    together = document_nats(model, np.concatenate(documents), starts)
    alone = [document_nats(model, np.array(d), np.array([0]))[0] for d in documents]
    assert together == pytest.approx(alone) and together[1] == 0


def test_higher_orders_help_where_text_has_structure():
    rng = np.random.default_rng(1)
    phrase = [1, 2, 3, 4, 5, 6, 1, 3, 5, 2, 4, 6]
    tokens, starts = stream(*[phrase * 3 for _ in range(20)], rng.integers(0, 18, 50).tolist())
    held_out, held_starts = np.array([BOS, *phrase * 2]), np.array([0])
    nats = [
        document_nats(
            kneser_ney(counted(tokens, starts, order), vocab_size=V), held_out, held_starts
        )[0]
        for order in (1, 2, 3, 5)
    ]
    assert nats == sorted(nats, reverse=True) and nats[-1] < 0.1 * nats[0]


@pytest.mark.parametrize("max_bytes", [600, 1000, 1500, 2500, 5000, 10_000, 1_000_000])
def test_a_pruned_model_fits_its_size_and_fills_it(text, max_bytes):
    counts = counted(*text)
    whole = prune(counts, vocab_size=V, max_bytes=None)
    pruned = prune(counts, vocab_size=V, max_bytes=max_bytes)
    assert len(pruned.data) <= max_bytes
    assert len(pruned.data) > min(max_bytes, len(whole.data)) - 128
    assert entry_bytes(V) == 3.25 and entry_bytes(70_000) == 5.25


def test_pruning_costs_bits_and_more_pruning_costs_more(text):
    tokens, starts = text
    counts = counted(tokens, starts)
    sizes = (None, 4000, 2000, 1000, 600)
    models = [load_pruned(prune(counts, vocab_size=V, max_bytes=size).data) for size in sizes]
    nats = [document_nats(model, tokens, starts).sum() for model in models]
    assert nats == sorted(nats)


def test_the_file_holds_the_whole_model_up_to_its_rounding(text):
    tokens, starts = text
    counts = counted(tokens, starts)
    exact = document_nats(kneser_ney(counts, vocab_size=V), tokens, starts).sum()
    loaded = load_pruned(prune(counts, vocab_size=V, max_bytes=None).data)
    assert document_nats(loaded, tokens, starts).sum() == pytest.approx(exact, rel=0.01)


def test_the_same_text_gives_the_same_file(text):
    files = {prune(counted(*text), vocab_size=V, max_bytes=3000).data for _ in range(2)}
    assert len(files) == 1


def test_a_limit_below_the_header_is_refused(text):
    with pytest.raises(ConfigError, match="limit is 100"):
        prune(counted(*text), vocab_size=V, max_bytes=100)


def test_a_bos_that_is_also_eos_is_an_ordinary_last_token():
    tokens = np.array([19, 1, 2, 19, 19, 1, 3, 19])
    starts = np.array([0, 4])
    counts = count_ngrams(tokens, places(8, starts), vocab_size=V, order=3)
    model = kneser_ney(counts, vocab_size=V)
    assert model.distribution([19, 1]).sum() == pytest.approx(1)
    assert model.distribution([19, 1, 2])[19] > 0.5
