import lzma
import random

import pytest

from pipeline.evals import baselines_compressors
from pipeline.evals.baselines_compressors import ppmd_primed, xz_alone, xz_primed

RNG = random.Random(5)
WORDS = ["".join(RNG.choices("abcdefghij", k=RNG.randint(2, 9))) for _ in range(300)]


def prose(number):
    return " ".join(RNG.choices(WORDS, k=number)).encode()


@pytest.fixture(scope="module")
def texts():
    training = prose(20_000)
    held_out = [training[5_000:9_000], prose(400), training[20_000:23_000]]
    return training, held_out


def test_priming_helps_on_repeated_text(texts):
    training, held_out = texts
    alone = xz_alone(held_out[:1], held_out[1:])
    primed = xz_primed(training, held_out[:1], held_out[1:])
    assert primed.all < 0.6 * alone.all and primed.clean < 0.2 * alone.clean
    for order in (8, 16):
        cost = ppmd_primed(training, held_out, order=order, memory_bytes=1 << 24)
        nothing = ppmd_primed(b"", held_out, order=order, memory_bytes=1 << 24)
        assert sum(cost.documents) < 0.75 * sum(nothing.documents)


def test_primed_xz_is_the_difference_of_two_streams(texts):
    training, held_out = texts
    filters = [{"id": lzma.FILTER_LZMA1, "preset": 9 | lzma.PRESET_EXTREME}]

    def size(data):
        return len(lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters))

    cost = xz_primed(training, held_out[:2], held_out[2:])
    assert cost.model == size(training)
    assert cost.all == size(training + b"".join(held_out)) - size(training)


def test_one_pass_over_long_text_agrees_with_three(texts, monkeypatch):
    training, _ = texts
    held_out = [prose(9_000), training[:40_000]]
    exact = xz_primed(training, held_out[:1], held_out[1:])
    monkeypatch.setattr(baselines_compressors, "_EXACT_BYTES", 0)
    quick = xz_primed(training, held_out[:1], held_out[1:])
    # The encoder may be ahead by one step, at most 4 kB of text: here about 1.5 kB of code.
    assert quick.clean == pytest.approx(exact.clean, abs=1500)
    assert quick.all == pytest.approx(exact.all, abs=1500)


def test_ppmd_costs_add_up_to_the_whole_stream(texts):
    training, held_out = texts
    apart = ppmd_primed(training, held_out, order=8, memory_bytes=1 << 24)
    together = ppmd_primed(training, [b"".join(held_out)], order=8, memory_bytes=1 << 24)
    assert sum(apart.documents) == pytest.approx(sum(together.documents), abs=8)


def test_no_clean_document_costs_nothing(texts):
    training, held_out = texts
    assert xz_primed(training, [], held_out).clean == 0
    assert xz_alone([], held_out).clean == 0
