"""Two reports on the same documents: who is better, and would other documents say the same?"""

import numpy as np
import pytest

from pipeline.artifacts import EvalReport
from pipeline.evals.document_scores import DocumentScores, write_scores
from pipeline.evals.paired import compare, compare_nats
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError
from pipeline.store.runtime import Runtime

LN2 = np.log(2)


def report(root, nats, eval_set="a" * 64, doc_ids=None, salt=0, sources=None):
    nats = np.array(nats, float)
    ids = tuple(doc_ids or (f"d{i}" for i in range(len(nats))))
    ones = np.full(len(nats), 10)
    named = tuple(sources or "x" * len(nats)), ("en",) * len(nats)
    scores = DocumentScores(ids, *named, nats, ones, ones, ones, nats * 0)
    key = artifact_key("evaluate", 1, {"salt": salt}, [f"eval_set@{eval_set}"])
    directory = root / "eval" / key.fingerprint[:12]

    def work(directory):
        write_scores(directory / "documents.arrow", scores)
        return Outcome()

    build(key, directory, work, root=root, runtime=Runtime())
    return EvalReport(directory, key.fingerprint)


def test_difference_is_in_bits_per_byte_and_negative_when_the_candidate_is_better(tmp_path):
    champion = report(tmp_path, [20 * LN2] * 30)
    candidate = report(tmp_path, [18 * LN2] * 30, salt=1)
    result = compare(candidate, champion)
    assert result.delta == pytest.approx(-0.2)
    assert (result.low, result.high) == (pytest.approx(-0.2), pytest.approx(-0.2))
    assert result.win_rate == 1.0 and result.documents == 30 and result.better
    assert not compare(champion, candidate).better


def test_a_model_is_not_better_than_itself(tmp_path):
    one = report(tmp_path, np.arange(1, 30))
    result = compare(one, one)
    assert (result.delta, result.low, result.high, result.win_rate) == (0, 0, 0, 0.5)
    assert not result.better


def test_one_lucky_document_does_not_make_a_model_better():
    rng = np.random.default_rng(0)
    champion = rng.uniform(10, 20, 50)
    candidate = champion + rng.normal(0.0, 1.0, 50)
    candidate[0] -= 9
    result = compare_nats(candidate, champion, np.full(50, 10.0), draws=1000, seed=0)
    assert result.low < result.delta < result.high and result.high > 0 and not result.better


def test_order_of_documents_does_not_matter(tmp_path):
    a = report(tmp_path, [1.0, 2.0, 3.0], doc_ids=["x", "y", "z"])
    b = report(tmp_path, [3.0, 1.0, 2.0], doc_ids=["z", "x", "y"], salt=1)
    assert compare(a, b).delta == 0


def test_two_sources_may_hold_one_id(tmp_path):
    a = report(tmp_path, [1.0, 2.0], doc_ids=["d", "d"], sources="xy")
    b = report(tmp_path, [2.0, 1.0], doc_ids=["d", "d"], sources="yx", salt=1)
    result = compare(a, b)
    assert (result.delta, result.win_rate) == (0, 0.5)


def test_different_eval_sets_are_refused(tmp_path):
    a = report(tmp_path, [1.0, 2.0])
    b = report(tmp_path, [1.0, 2.0], eval_set="b" * 64)
    with pytest.raises(
        ArtifactError, match="eval_set@aaaaaaaaaaaa.*eval_set@bbbbbbbbbbbb.*evaluate both"
    ):
        compare(a, b)


def test_different_documents_are_refused(tmp_path):
    a = report(tmp_path, [1.0, 2.0])
    b = report(tmp_path, [1.0, 2.0], doc_ids=["d0", "other"], salt=1)
    with pytest.raises(ArtifactError, match="different documents"):
        compare(a, b)


def test_intervals_are_deterministic():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(1, 2, 40), rng.uniform(1, 2, 40)
    num_bytes = np.full(40, 5.0)
    one = compare_nats(a, b, num_bytes, draws=300, seed=1)
    assert one == compare_nats(a, b, num_bytes, draws=300, seed=1)
    assert one != compare_nats(a, b, num_bytes, draws=300, seed=2)
