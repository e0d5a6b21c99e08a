import shutil

import pytest

from pipeline.evals.paired import Comparison, changes_by_group
from pipeline.serving.gate import Limits, base_gate, first_champion, tuned_gate
from tests.registry.worlds import World


def test_base_is_promoted_only_beyond_chance(world: World) -> None:
    eval_set = world.eval_set()
    champion = world.report(world.base(), eval_set, bits=1.5)
    better = world.report(world.base(seed=1), eval_set, bits=1.4)
    assert base_gate(better, champion).promote
    assert not base_gate(champion, better).promote
    assert not base_gate(champion, champion).promote


@pytest.mark.parametrize(
    ("bits", "loss", "base_bits", "promoted", "reason"),
    [
        (1.60, 1.9, 1.5, True, "response loss 1.9000 against 2.0000"),
        (1.60, 2.0, 1.5, False, "not better"),
        (1.66, 1.9, 1.5, False, "forgot too much"),
        (1.66, 1.9, None, True, "the champion's"),
        (1.80, 1.9, None, False, "forgot too much"),
        (1.60, 1.9, 1.2, True, "or the champion's 1.6000"),
        (1.61, 1.9, 1.2, False, "forgot too much"),
    ],
)
def test_tuned_needs_lower_response_loss_and_bounded_forgetting(
    world: World, bits: float, loss: float, base_bits: float | None, promoted: bool, reason: str
) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.6, response_loss=2.0)
    candidate = world.report(world.tuned(base, seed=7), eval_set, bits=bits, response_loss=loss)
    limits = Limits(max_forgetting=0.1, max_worsening=None)
    verdict = tuned_gate(candidate, champion, base_bits, limits)
    assert verdict.promote is promoted
    assert reason in verdict.reason


def test_different_eval_sets_never_promote(world: World) -> None:
    base = world.base()
    champion = world.report(base, world.eval_set("one"), bits=1.5)
    candidate = world.report(world.base(seed=1), world.eval_set("two"), bits=0.1)
    for verdict in (
        base_gate(candidate, champion),
        tuned_gate(candidate, champion, None, Limits(max_forgetting=9.0)),
    ):
        assert not verdict.promote
        assert "different eval sets" in verdict.reason


def test_different_questions_never_promote(world: World) -> None:
    eval_set, tuned = world.eval_set(), world.tuned(world.base())
    champion = world.report(tuned, eval_set, bits=1.5, form="chat")
    candidate = world.report(tuned, eval_set, bits=1.5, response_loss=0.1)
    assert "other questions" in tuned_gate(candidate, champion, None).reason


def test_response_losses_over_different_tokens_are_compared_per_answer(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    # Half as many tokens for the same answers: 2.5 nats per token are fewer nats in all.
    coarse = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=2.5, answer_tokens=25
    )
    verdict = tuned_gate(coarse, champion, 1.5)
    assert verdict.promote and "other tokens, difference -3.7500 nats per answer" in verdict.reason
    assert not tuned_gate(champion, coarse, 1.5).promote


def test_response_losses_over_different_answers_never_promote(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    easier = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=1.0, answers=6
    )
    verdict = tuned_gate(easier, champion, 1.5)
    assert not verdict.promote and "counts 6 answers" in verdict.reason


def test_first_model_needs_a_finite_score(world: World) -> None:
    report = world.report(world.base(), world.eval_set(), bits=1.5)
    assert first_champion(report, "bits_per_byte").promote
    (report.path / "report.json").write_text('{"perplexity": {"bits_per_byte": NaN}}')
    try:
        assert not first_champion(report, "bits_per_byte").promote
    finally:
        shutil.rmtree(report.path)


@pytest.mark.parametrize("group", ["small", "de"])
def test_better_model_that_is_worse_in_one_source_or_language_is_refused(
    world: World, group: str
) -> None:
    eval_set = world.eval_set()
    champion = world.report(world.base(), eval_set, bits=1.5)
    one_sided = world.report(world.base(seed=1), eval_set, bits=1.3, worse={group: 1.2})
    verdict = base_gate(one_sided, champion)
    assert not verdict.promote
    assert f" {group}: " in verdict.reason and "worse than the champion by more than 1.00%" in (
        verdict.reason
    )
    assert verdict.figures["high"] < 0 < verdict.figures["worst_group"]
    assert base_gate(one_sided, champion, Limits(max_worsening=0.05)).promote
    assert base_gate(one_sided, champion, Limits(max_worsening=None)).promote


def test_one_per_cent_worse_in_a_source_is_allowed_and_more_is_not(world: World) -> None:
    eval_set = world.eval_set()
    champion = world.report(world.base(), eval_set, bits=1.5)
    for ratio, promoted in ((1.0099, True), (1.0101, False)):
        # The two documents of `small` need 0.0045 bits more than the mean, in both models.
        worse = {"small": ratio * 1.5045 / 1.4045}
        candidate = world.report(world.base(seed=1), eval_set, bits=1.4, worse=worse)
        changes = changes_by_group(candidate, champion)
        (small,) = [change for change in changes if change.name == "small"]
        assert small.relative == pytest.approx(ratio - 1)
        assert base_gate(candidate, champion).promote is promoted


def test_tuned_model_must_answer_better_beyond_chance(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    lucky = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=1.99, noise=3.0
    )
    verdict = tuned_gate(lucky, champion, 1.5)
    assert not verdict.promote and "not better than the champion beyond chance" in verdict.reason
    assert verdict.figures["delta"] < 0 < verdict.figures["high"]
    surely = world.report(
        world.tuned(base, seed=8), eval_set, bits=1.5, response_loss=1.99, noise=0.001
    )
    assert tuned_gate(surely, champion, 1.5).promote


def test_confidence_decides_what_chance_may_explain(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    likely = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=1.9, noise=1.0
    )
    assert tuned_gate(likely, champion, 1.5, Limits(confidence=0.6)).promote
    assert not tuned_gate(likely, champion, 1.5, Limits(confidence=0.999)).promote


def test_tuned_model_that_is_worse_in_one_source_is_refused(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    candidate = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.45, response_loss=1.0, worse={"small": 1.2}
    )
    verdict = tuned_gate(candidate, champion, 1.5)
    assert not verdict.promote and "source small" in verdict.reason


def test_one_answer_or_one_document_promotes_nobody(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0, answers=1)
    better = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=1.0, answers=1
    )
    verdict = tuned_gate(better, champion, 1.5)
    assert not verdict.promote and "say nothing about others" in verdict.reason
    assert not Comparison(delta=-1, low=-1, high=-1, win_rate=1.0, documents=1).better
    assert Comparison(delta=-1, low=-1, high=-1, win_rate=1.0, documents=2).better
