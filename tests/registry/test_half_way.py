"""A registry that goes away in the middle, and one that others need in the meantime."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline.artifacts import EvalReport, ExportedModel
from pipeline.stages.register import RegistryConfig, register, register_pending
from pipeline.tracking.config import StoreUnavailable
from pipeline.tracking.registry import opened
from pipeline.tracking.versions import CHAMPION
from tests.registry.test_register import at, number, shelve
from tests.registry.worlds import RUNTIME, World


def test_registry_that_goes_away_half_way_is_finished_by_sync_without_a_second_version(
    world: World,
) -> None:
    checkpoint, frozen = world.base(), world.eval_set()
    report = world.report(checkpoint, frozen, bits=1.5)
    exported = world.exported(checkpoint, report)

    def away(*_: object) -> list[Path]:
        raise StoreUnavailable("connection reset")

    done = register(
        RegistryConfig(), exported, report, frozen, root=world.root, runtime=RUNTIME, certify=away
    )
    assert done.version is None and "connection reset" in done.reason
    (later,) = register_pending(RegistryConfig(), root=world.root, runtime=RUNTIME)
    assert (later.version, later.promoted, later.eval_set_uses) == (1, True, 1)
    with opened(world.root) as registry:
        assert len(registry._client.search_model_versions()) == 1
    assert register_pending(RegistryConfig(), root=world.root, runtime=RUNTIME) == []


def test_others_reach_the_registry_while_a_champion_is_measured(world: World) -> None:
    shelve(world, 1.5)
    seen: list[int | None] = []

    def evaluate_champion(exported: ExportedModel) -> EvalReport:
        with ThreadPoolExecutor(1) as other:
            seen.append(number(other.submit(at, world, CHAMPION).result(timeout=30)))
            shelve_better = other.submit(shelve, world, 1.1, 2)
            seen.append(shelve_better.result(timeout=30).version)
        return world.report(world.base(), world.eval_set("third"), bits=1.7)

    checkpoint, frozen = world.base(1), world.eval_set("third")
    report = world.report(checkpoint, frozen, bits=1.2)
    done = register(
        RegistryConfig(), world.exported(checkpoint, report), report, frozen, root=world.root,
        runtime=RUNTIME, evaluate_champion=evaluate_champion,
    )  # fmt: skip
    assert seen[:2] == [1, 3], "the lock was not held while the champion was measured"
    assert not done.promoted and "champion, version 3, has no report" in done.reason
