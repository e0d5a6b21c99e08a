"""Commands find the store in which this root registered a model, without being told."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.cli import main
from pipeline.stages.register import RegistryConfig, register
from pipeline.tracking.aliases import AliasReader
from pipeline.tracking.config import TrackingConfig
from pipeline.tracking.referring import model_directory, tracking_of
from tests.registry.worlds import RUNTIME, World
from tests.tracking.databases import fresh_root

NAME = "elsewhere-base"


def mill(*arguments: object) -> int:
    """The command line in this process; its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture
def elsewhere(world: World, tmp_path: Path) -> TrackingConfig:
    """Two versions in a store that is not the root's own: 1 is champion, 2 lost."""
    tracking = TrackingConfig(uri=f"sqlite:///{fresh_root(tmp_path / 'server') / 'mlflow.db'}")
    eval_set = world.eval_set()
    for seed, bits in enumerate((1.5, 1.6)):
        checkpoint = world.base(seed)
        report = world.report(checkpoint, eval_set, bits=bits)
        register(
            RegistryConfig(name="elsewhere"), world.exported(checkpoint, report), report, eval_set,
            root=world.root, runtime=RUNTIME, tracking=tracking,
        )  # fmt: skip
    return tracking


def test_promote_and_rollback_find_the_configured_store(
    world: World, elsewhere: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tracking_of(world.root, NAME).uri == elsewhere.uri
    assert mill("registry", "promote", NAME, 2, "--root", world.root) == 0
    assert "version 2 (challenger, champion): promoted by hand" in capsys.readouterr().out
    reader = AliasReader(f"models:/{NAME}@champion", world.root)
    version = reader.version()
    assert version is not None and version.number == 2
    own = ("--root", world.root, "--uri", elsewhere.uri)
    assert mill("registry", "rollback", NAME, *own) == 0
    assert "version 1 (champion)" in capsys.readouterr().out
    _, label = model_directory(f"models:/{NAME}@champion", root=world.root)
    assert label == f"{NAME} version 1"


def test_files_lie_beside_a_database_without_a_server(
    elsewhere: TrackingConfig, tmp_path: Path
) -> None:
    assert elsewhere.uri is not None
    client = MlflowClient(elsewhere.uri, elsewhere.uri)
    place = client.get_experiment_by_name(elsewhere.experiment).artifact_location
    assert place == (tmp_path / "server" / "mlartifacts").as_uri()
    assert Path(place.removeprefix("file://")).is_dir()


def test_a_store_named_by_hand_wins_and_a_wrong_one_is_a_clear_error(
    world: World, elsewhere: TrackingConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    own = f"sqlite:///{world.root / 'mlflow.db'}"
    for uri, code, told in (
        (own, 2, f"{NAME} has no version 1"),
        ("http://127.0.0.1:9", 4, "the registry cannot be reached"),
        ("./mlruns", 2, "not a tracking store"),
    ):
        assert mill("registry", "promote", NAME, 1, "--root", world.root, "--uri", uri) == code
        assert told in capsys.readouterr().err
