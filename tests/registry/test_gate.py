import shutil

import pytest

from pipeline.serving.gate import base_gate, first_champion, tuned_gate
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
    verdict = tuned_gate(candidate, champion, base_bits, max_forgetting=0.1)
    assert verdict.promote is promoted
    assert reason in verdict.reason


def test_different_eval_sets_never_promote(world: World) -> None:
    base = world.base()
    champion = world.report(base, world.eval_set("one"), bits=1.5)
    candidate = world.report(world.base(seed=1), world.eval_set("two"), bits=0.1)
    for verdict in (
        base_gate(candidate, champion),
        tuned_gate(candidate, champion, None, max_forgetting=9.0),
    ):
        assert not verdict.promote
        assert "different eval sets" in verdict.reason


def test_different_questions_never_promote(world: World) -> None:
    eval_set, tuned = world.eval_set(), world.tuned(world.base())
    champion = world.report(tuned, eval_set, bits=1.5, form="chat")
    candidate = world.report(tuned, eval_set, bits=1.5, response_loss=0.1)
    assert "other questions" in tuned_gate(candidate, champion, None, max_forgetting=0.1).reason


def test_response_losses_over_different_tokens_are_compared_per_answer(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    # Half as many tokens for the same answers: 2.5 nats per token are fewer nats in all.
    coarse = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=2.5, answer_tokens=25
    )
    verdict = tuned_gate(coarse, champion, 1.5, max_forgetting=0.1)
    assert verdict.promote and "6.250 nats per answer against 10.000" in verdict.reason
    assert not tuned_gate(champion, coarse, 1.5, max_forgetting=0.1).promote


def test_response_losses_over_different_answers_never_promote(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    champion = world.report(world.tuned(base), eval_set, bits=1.5, response_loss=2.0)
    easier = world.report(
        world.tuned(base, seed=7), eval_set, bits=1.5, response_loss=1.0, answers=6
    )
    verdict = tuned_gate(easier, champion, 1.5, max_forgetting=0.1)
    assert not verdict.promote and "counts 6 answers" in verdict.reason


def test_first_model_needs_a_finite_score(world: World) -> None:
    report = world.report(world.base(), world.eval_set(), bits=1.5)
    assert first_champion(report, "bits_per_byte").promote
    (report.path / "report.json").write_text('{"perplexity": {"bits_per_byte": NaN}}')
    try:
        assert not first_champion(report, "bits_per_byte").promote
    finally:
        shutil.rmtree(report.path)
