"""The cheapest signs of a wrong mask: samples that do not stop, run long, or repeat themselves."""

from dataclasses import replace

import pytest

from pipeline.training.job import read_job
from pipeline.training.sampling import Sampler, repeated_share, sample_metrics
from tests.training.worlds import MODEL, make_job, zen_world


@pytest.mark.parametrize(
    "ids, share",
    [
        ([], 0.0),
        ([1, 2, 3], 0.0),
        (list(range(20)), 0.0),
        ([7] * 104, 0.9901),
        ([1, 2, 3, 4] * 2, 0.2),
    ],
)
def test_repeated_share_of_four_grams(ids, share):
    assert repeated_share(ids) == pytest.approx(share, abs=1e-4)


def test_metrics_are_means_over_the_samples():
    records = [
        {"stopped": True, "tokens": 4, "repeated": 0.0},
        {"stopped": False, "tokens": 48, "repeated": 0.9},
    ]
    assert sample_metrics(records) == {
        "samples/stopped_rate": 0.5,
        "samples/tokens": 26.0,
        "samples/repeated_4grams": 0.45,
    }
    assert sample_metrics([]) == {}


def test_ids_beyond_the_tokenizer_are_no_text_and_no_end_of_the_run(tmp_path):
    """Models are rounded up in size; untrained, they write those ids too."""
    wide = replace(MODEL, vocab_size=4096)
    job = read_job(make_job(tmp_path, *zen_world(tmp_path), model=wide, prompts=("a",)))
    [record] = Sampler.open(job, wide.build(seed=0)).write("untrained", step=0, seconds=0.0)
    assert record["tokens"] == 8 and isinstance(record["text"], str)


def test_a_long_run_is_sampled_now_and_then(tmp_path):
    job = read_job(make_job(tmp_path, *zen_world(tmp_path)))
    sampler = Sampler.open(job, MODEL.build(seed=0))
    seen = []
    for seconds in (5, 11, 30, 61, 599, 700, 4_000, 30_000, 40_000):
        moment = sampler.due(seconds)
        seen.append(moment)
        sampler.written.add(moment or "")
    assert seen == [None, "10 s", None, "60 s", None, "10 min", "1 h", "6 h", None]
