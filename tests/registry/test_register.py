import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from pipeline.artifacts import EvalReport, ExportedModel
from pipeline.stages.register import (
    Registration,
    RegistryConfig,
    register,
    register_pending,
)
from pipeline.store.errors import ArtifactError, ConfigError, NotBuilt
from pipeline.store.runtime import Runtime
from pipeline.tracking.config import TrackingConfig, default_uri
from pipeline.tracking.ledger import Ledger
from pipeline.tracking.promotion import promote, rollback
from pipeline.tracking.referring import model_directory, version_of
from pipeline.tracking.registry import RESTORING_TAG, opened
from pipeline.tracking.store import open_client
from pipeline.tracking.sync import sync
from pipeline.tracking.versions import CHALLENGER, CHAMPION, MODEL_TAG, PREVIOUS, Version
from tests.registry.worlds import RUNTIME, World
from tests.tracking.databases import migrated_database

BASE = "gristmill-base"


def shelve(world: World, bits: float, seed: int = 0, eval_set: str = "held-out") -> Registration:
    """Register a base model that scores `bits`."""
    checkpoint, frozen = world.base(seed), world.eval_set(eval_set)
    report = world.report(checkpoint, frozen, bits=bits)
    exported = world.exported(checkpoint, report)
    return register(RegistryConfig(), exported, report, frozen, root=world.root, runtime=RUNTIME)


def at(world: World, alias: str, name: str = BASE) -> Version | None:
    with opened(world.root) as registry:
        return registry.at(name, alias)


def number(version: Version | None) -> int | None:
    return None if version is None else version.number


def test_registering_twice_makes_one_version(world: World) -> None:
    first, second = shelve(world, 1.5), shelve(world, 1.5)
    assert first == second
    assert (first.version, first.promoted) == (1, True)
    assert set(first.aliases) == {CHALLENGER, CHAMPION}
    assert default_uri(world.root) in first.one_liner


def test_gate_promotes_the_first_refuses_the_worse_and_promotes_the_better(world: World) -> None:
    shelve(world, 1.5)
    worse = shelve(world, 1.6, seed=1)
    assert (worse.promoted, worse.aliases) == (False, (CHALLENGER,))
    assert "not better" in worse.reason
    assert number(at(world, CHAMPION)) == 1
    better = shelve(world, 1.4, seed=2)
    assert better.promoted
    versions = {alias: number(at(world, alias)) for alias in (CHAMPION, CHALLENGER, PREVIOUS)}
    assert versions == {CHAMPION: 3, CHALLENGER: 3, PREVIOUS: 1}
    champion = at(world, CHAMPION)
    assert champion is not None
    assert champion.tags["gristmill.gate_reason"] == better.reason
    with opened(world.root) as registry:
        told = registry._client.get_model_version(BASE, "3").description
    assert told.startswith(f"promoted: {better.reason}\n\nbits per byte 1.4000")


def test_another_eval_set_never_promotes_silently(world: World) -> None:
    shelve(world, 1.5)
    other = shelve(world, 0.5, seed=1, eval_set="other")
    assert not other.promoted
    assert "no report on eval_set@" in other.reason


def test_champion_is_measured_on_the_new_eval_set_when_the_flow_can(world: World) -> None:
    shelve(world, 1.5)
    asked: list[ExportedModel] = []

    def evaluate_champion(exported: ExportedModel) -> EvalReport:
        asked.append(exported)
        return world.report(world.base(), world.eval_set("third"), bits=1.7)

    checkpoint, frozen = world.base(1), world.eval_set("third")
    report = world.report(checkpoint, frozen, bits=1.2)
    done = register(
        RegistryConfig(), world.exported(checkpoint, report), report, frozen, root=world.root,
        runtime=RUNTIME, evaluate_champion=evaluate_champion,
    )  # fmt: skip
    assert done.promoted
    assert [exported.facts["checkpoint"] for exported in asked] == [world.base().ref]


def test_champion_measured_with_another_stride_is_measured_again(world: World) -> None:
    shelve(world, 1.5)
    asked: list[ExportedModel] = []

    def evaluate_champion(exported: ExportedModel) -> EvalReport:
        asked.append(exported)
        return world.report(world.base(), world.eval_set(), bits=1.3, stride=1)

    checkpoint, frozen = world.base(1), world.eval_set()
    report = world.report(checkpoint, frozen, bits=1.4, stride=1)
    done = register(
        RegistryConfig(), world.exported(checkpoint, report), report, frozen, root=world.root,
        runtime=RUNTIME, evaluate_champion=evaluate_champion,
    )  # fmt: skip
    assert len(asked) == 1
    assert not done.promoted and "1.4000 bits per byte against 1.3000" in done.reason


def test_champion_that_cannot_be_measured_stays(world: World) -> None:
    shelve(world, 1.5)

    def evaluate_champion(exported: ExportedModel) -> EvalReport:
        raise ArtifactError(f"{exported.ref} has no checkpoint")

    checkpoint, frozen = world.base(1), world.eval_set("third")
    report = world.report(checkpoint, frozen, bits=0.5)
    done = register(
        RegistryConfig(), world.exported(checkpoint, report), report, frozen, root=world.root,
        runtime=RUNTIME, evaluate_champion=evaluate_champion,
    )  # fmt: skip
    assert not done.promoted and "could not be measured" in done.reason


def test_alias_that_a_killed_process_told_the_server_only_reaches_the_ledger(world: World) -> None:
    shelve(world, 1.5)
    ledger = world.root / "journal" / "registry.jsonl"
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if '"champion"' not in line))
    shelve(world, 1.5)
    with opened(world.root) as registry:
        aliases = Ledger(world.root, registry.uri).state().aliases
    champion = at(world, CHAMPION)
    assert champion is not None and aliases[BASE, CHAMPION] == champion.fingerprint


def test_tuned_model_is_held_to_its_own_base(world: World) -> None:
    eval_set, base = world.eval_set(), world.base()
    world.report(base, eval_set, bits=1.5)
    results = []
    for seed, bits, loss in ((100, 1.6, 2.0), (101, 1.9, 1.0), (102, 1.55, 1.5)):
        tuned = world.tuned(base, seed=seed)
        report = world.report(tuned, eval_set, bits=bits, response_loss=loss)
        exported = world.exported(tuned, report)
        results.append(
            register(RegistryConfig(), exported, report, eval_set, root=world.root, runtime=RUNTIME)
        )
    assert [done.promoted for done in results] == [True, False, True]
    assert "forgot too much" in results[1].reason
    assert results[0].name == "gristmill"


def test_rollback_brings_the_previous_back_and_the_gate_respects_it(world: World) -> None:
    shelve(world, 1.5)
    shelve(world, 1.4, seed=2)
    assert rollback(world.root, BASE).number == 1
    assert number(at(world, CHAMPION)) == 1
    again = shelve(world, 1.4, seed=2)
    assert not again.promoted
    assert "rolled back by hand" in again.reason
    with pytest.raises(ArtifactError, match="no previous champion"):
        rollback(world.root, BASE)
    assert promote(world.root, BASE, 2).number == 2
    assert number(at(world, CHAMPION)) == 2


def test_promoting_what_is_not_there_is_refused(world: World) -> None:
    shelve(world, 1.5)
    with pytest.raises(ConfigError, match="no version 7"):
        promote(world.root, BASE, 7)
    with pytest.raises(ConfigError, match="no alias nobody"):
        model_directory(f"models:/{BASE}@nobody", root=world.root)


def test_deleted_database_gets_its_versions_and_champion_back(world: World, tmp_path: Path) -> None:
    shelve(world, 1.5)
    shelve(world, 1.6, seed=1)
    before = at(world, CHAMPION)
    # Elsewhere, because this process keeps the old database open.
    other = World(tmp_path / "moved")
    shutil.copytree(
        world.root, other.root, ignore=shutil.ignore_patterns("mlflow.*", "mlartifacts")
    )
    shutil.copyfile(migrated_database(), other.root / "mlflow.db")
    assert sync(other.root).restored == (f"{BASE}/1", f"{BASE}/2")
    again = shelve(other, 1.6, seed=1)
    after = at(other, CHAMPION)
    assert before is not None and after is not None
    assert (after.fingerprint, after.number) == (before.fingerprint, before.number)
    own = {MODEL_TAG: after.tags[MODEL_TAG]}  # of this store
    assert after.tags == {**before.tags, **own}
    assert (again.version, again.promoted) == (2, False)


def test_restore_that_was_killed_is_finished_by_the_next(world: World, tmp_path: Path) -> None:
    shelve(world, 1.5)
    other = World(tmp_path / "moved")
    shutil.copytree(
        world.root, other.root, ignore=shutil.ignore_patterns("mlflow.*", "mlartifacts")
    )
    shutil.copyfile(migrated_database(), other.root / "mlflow.db")
    # What a kill after the first step leaves: the model's name, none of its versions.
    client = open_client(default_uri(other.root), other.root)
    client.create_registered_model(BASE, {RESTORING_TAG: "yes"})
    with opened(other.root) as registry:
        assert registry.restored == (f"{BASE}/1",)
    assert number(at(other, CHAMPION)) == 1
    assert RESTORING_TAG not in client.get_registered_model(BASE).tags


def test_unreachable_registry_is_a_warning_and_sync_registers_later(
    world: World, tmp_path: Path
) -> None:
    events: list[str] = []

    class Progress:
        def advance(self, done, total, unit):
            pass

        def event(self, name, facts):
            events.append(name)

    dead = TrackingConfig(uri="http://127.0.0.1:9")
    checkpoint, frozen = world.base(), world.eval_set()
    report = world.report(checkpoint, frozen, bits=1.5)
    exported = world.exported(checkpoint, report)
    done = register(
        RegistryConfig(name="later"), exported, report, frozen, root=world.root,
        runtime=replace(RUNTIME, progress=Progress()), tracking=dead,
    )  # fmt: skip
    assert (done.version, done.promoted, events) == (None, False, ["warning"])
    assert "--uri http://127.0.0.1:9`" in done.reason
    ledger = world.root / "journal" / "registry.jsonl"
    # The server is back, as the store under the root.
    ledger.write_text(ledger.read_text().replace("http://127.0.0.1:9", "default"))
    (later,) = register_pending(RegistryConfig(), root=world.root, runtime=RUNTIME)
    assert (later.name, later.version, later.promoted) == ("later-base", 1, True)
    assert register_pending(RegistryConfig(), root=world.root, runtime=RUNTIME) == []


def test_report_of_another_eval_set_or_export_is_refused(world: World) -> None:
    checkpoint = world.base()
    report = world.report(checkpoint, world.eval_set(), bits=1.5)
    exported = world.exported(checkpoint, report)
    settings = {"root": world.root, "runtime": RUNTIME}
    with pytest.raises(ArtifactError, match="not on"):
        register(RegistryConfig(), exported, report, world.eval_set("other"), **settings)
    other = world.report(checkpoint, world.eval_set(), bits=1.4)
    with pytest.raises(ArtifactError, match="export it with this report"):
        register(RegistryConfig(), exported, other, world.eval_set(), **settings)


def test_planning_registers_nothing(world: World) -> None:
    checkpoint = world.base()
    report = world.report(checkpoint, world.eval_set(), bits=1.5)
    exported = world.exported(checkpoint, report)
    with pytest.raises(NotBuilt):
        register(
            RegistryConfig(), exported, report, world.eval_set(), root=world.root,
            runtime=Runtime(may_build=False),
        )  # fmt: skip
    assert at(world, CHALLENGER) is None


def test_registered_reference_leads_to_the_export_or_a_download(world: World) -> None:
    done = shelve(world, 1.5)
    hf, label = model_directory(f"models:/{BASE}@champion", root=world.root)
    assert hf.is_relative_to(world.root / "export")
    assert label == f"{BASE} version 1"
    hidden = world.root / "export.away"
    (world.root / "export").rename(hidden)
    try:
        downloaded, _ = model_directory(done.uri, root=world.root)
        assert downloaded.is_relative_to(world.root / "downloads")
        assert (downloaded / "model.safetensors").is_file()
    finally:
        hidden.rename(world.root / "export")


def test_missing_alias_names_those_there_are(world: World) -> None:
    shelve(world, 1.5)
    with pytest.raises(ConfigError, match=r"no alias winner .*champion \(version 1\)"):
        version_of(f"models:/{BASE}@winner", root=world.root)
    with pytest.raises(ConfigError, match="no model of that name"):
        version_of("models:/nobody@champion", root=world.root)


@pytest.mark.parametrize("call", ["promote", "rollback", "look up"])
def test_unreachable_registry_is_a_clear_error(world: World, call: str) -> None:
    dead = TrackingConfig(uri="http://127.0.0.1:9")
    with pytest.raises(ArtifactError, match="the registry cannot be reached"):
        if call == "promote":
            promote(world.root, BASE, 1, tracking=dead)
        elif call == "rollback":
            rollback(world.root, BASE, tracking=dead)
        else:
            model_directory(f"models:/{BASE}@champion", root=world.root, tracking=dead)


def altered(directory: Path) -> Path:
    """Flip one bit in the middle of the weights."""
    path = directory / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return path


def test_altered_files_are_refused_wherever_they_lie(world: World) -> None:
    shelve(world, 1.5)
    reference = f"models:/{BASE}@champion"
    hf, _ = model_directory(reference, root=world.root)
    altered(hf)
    with pytest.raises(ArtifactError, match="not those that were registered"):
        model_directory(reference, root=world.root)
    shutil.rmtree(world.root / "export")
    downloaded, _ = model_directory(reference, root=world.root)  # the store's own copy is whole
    altered(downloaded)
    with pytest.raises(ArtifactError, match="not those that were registered"):
        model_directory(reference, root=world.root)
    shutil.rmtree(world.root / "downloads")
    for path in (world.root / "mlartifacts").glob("**/artifacts/hf"):
        altered(path)
    with pytest.raises(ArtifactError, match="not those that were registered"):
        model_directory(reference, root=world.root)
    assert not list((world.root / "downloads").glob("*"))


def test_pyfunc_refuses_altered_files(world: World) -> None:
    import mlflow.pyfunc

    shelve(world, 1.5)
    (model,) = (world.root / "mlartifacts").glob("**/MLmodel")
    assert mlflow.pyfunc.load_model(str(model.parent)) is not None
    altered(model.parent / "artifacts" / "hf")
    with pytest.raises(MlflowException, match=r"model.safetensors was altered"):
        mlflow.pyfunc.load_model(str(model.parent))


def test_sync_brings_deleted_files_back_from_the_exports(world: World) -> None:
    shelve(world, 1.5)
    shelve(world, 1.6, seed=1)
    shutil.rmtree(world.root / "mlartifacts")
    lost = at(world, CHALLENGER)
    assert lost is not None
    shutil.rmtree(world.root / "export" / lost.fingerprint[:12])
    report = sync(world.root)
    assert (report.repaired, report.lost) == ((f"{BASE}/1",), (f"{BASE}/2",))
    assert sync(world.root).repaired == ()
    shutil.rmtree(world.root / "export")
    hf, _ = model_directory(f"models:/{BASE}@champion", root=world.root)
    assert (hf / "model.safetensors").is_file()
    with pytest.raises(ArtifactError, match="cannot be fetched from .*store sync"):
        model_directory(f"models:/{BASE}/2", root=world.root)


def test_figures_are_linked_to_the_model_and_the_eval_set(world: World) -> None:
    shelve(world, 1.5)
    shelve(world, 1.4, seed=1)
    client = open_client(default_uri(world.root), world.root)
    version = client.get_model_version_by_alias(BASE, CHAMPION)
    run = client.get_run(str(version.run_id))
    (about,) = run.inputs.dataset_inputs
    eval_set = world.eval_set()
    assert (about.dataset.name, about.dataset.digest) == (eval_set.name, eval_set.mlflow_digest)
    assert run.data.metrics["gate/high"] < 0 and run.data.metrics["bits_per_byte"] == 1.4
    model = client.get_logged_model(version.tags[MODEL_TAG])
    linked = {metric.key: metric for metric in model.metrics or []}
    assert linked["bits_per_byte"].dataset_digest == eval_set.mlflow_digest
    assert linked["gate/delta"].value == pytest.approx(-0.1)
    lineage = {p: v for p, v in model.params.items()}
    assert {"pretrain", "tokenizer", "evaluate", "eval_set", "examples"} <= set(lineage)


def test_pages_say_first_what_became_of_a_model(world: World) -> None:
    with opened(world.root) as registry:
        client = registry._client
        parent = client.create_run(registry._store.experiment_id, run_name="graph").info.run_id
    eval_set = world.eval_set()
    for seed, bits in ((0, 1.5), (1, 1.6), (1, 1.6)):
        report = world.report(world.base(seed), eval_set, bits=bits)
        done = register(
            RegistryConfig(), world.exported(world.base(seed), report), report, eval_set,
            root=world.root, runtime=RUNTIME, parent_run_id=parent,
        )  # fmt: skip
    first, second = client.get_run(parent).data.tags["mlflow.note.content"].split("\n\n")
    assert first.startswith(f"[{BASE} version 1](#/models/{BASE}/versions/1) promoted: there was")
    assert second == f"[{BASE} version 2](#/models/{BASE}/versions/2) refused: {done.reason}"
    version = client.get_model_version(BASE, "2")
    assert version.description.startswith("refused: not better than the champion")
    of_run = client.get_run(str(version.run_id)).data.tags["mlflow.note.content"]
    of_model = client.get_logged_model(version.tags[MODEL_TAG]).tags["mlflow.note.content"]
    assert of_run == of_model == version.description
    assert "`challenger` is the newest candidate" in client.get_registered_model(BASE).description


def test_uses_of_a_frozen_set_are_counted_and_many_are_a_warning(world: World) -> None:
    warnings: list[str] = []

    class Progress:
        def advance(self, done: float, total: float | None, unit: str) -> None:
            pass

        def event(self, name: str, facts: Mapping[str, Any]) -> None:
            warnings.extend([facts["message"]] if name == "warning" else [])

    runtime = replace(RUNTIME, progress=Progress())
    uses = []
    for seed, bits in enumerate((1.5, 1.6, 1.4, 1.4)):
        checkpoint, frozen = world.base(min(seed, 2)), world.eval_set()
        report = world.report(checkpoint, frozen, bits=bits)
        done = register(
            RegistryConfig(renew_eval_set_after=2), world.exported(checkpoint, report), report,
            frozen, root=world.root, runtime=runtime,
        )  # fmt: skip
        uses.append(done.eval_set_uses)
    assert uses == [1, 2, 3, 3]
    assert (
        len(warnings) == 2
        and "3 candidates were judged on the eval set 'held-out'" in (warnings[0])
    )
    champion = at(world, CHAMPION)
    assert champion is not None
    assert champion.tags["gristmill.eval_set_uses"] == "3 candidates were judged on held-out"
