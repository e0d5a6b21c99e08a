"""Training that starts from a registered model: the alias is looked up once, then remembered."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.starting import with_start
from pipeline.config import validate
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.manifest import read_manifest
from pipeline.training.config import FromCheckpoint, HuggingFace
from tests.flows.conftest import mill_here, small_settings, write_settings


@pytest.fixture
def root(small_run: Path, tmp_path: Path) -> Path:
    shutil.copytree(small_run, tmp_path / "root")
    return tmp_path / "root"


def settings(root: Path, **start: Any) -> dict:
    """The small graph, trained on from what is registered."""
    found = small_settings(root)
    found["pretrain"]["model"] = None
    found["pretrain"]["start"] = {"kind": "registered", "name": "small-base", **start}
    return found


def test_run_goes_on_from_the_champion_and_again_from_the_same(root: Path, tmp_path: Path) -> None:
    (base,) = (root / "pretrain").iterdir()
    config = write_settings(tmp_path / "on.yaml", settings(root))
    plan = mill_here("plan", str(config)).stdout
    assert "pretrain" in plan and not list((root / "resolved").glob("start-*"))
    mill_here("run", str(config), "--no-prefect", "--only", "pretrain")
    (new,) = set((root / "pretrain").iterdir()) - {base}
    assert f"pretrain@{base.name}" in read_manifest(new).inputs
    (record,) = (root / "resolved").glob("start-*.json")
    assert json.loads(record.read_text())["ref"] == f"pretrain@{base.name}"
    shutil.rmtree(root / "mlflow.db", ignore_errors=True)
    (root / "mlflow.db").unlink(missing_ok=True)  # nobody is asked a second time
    again = mill_here(
        "run", str(config), "--no-prefect", "--only", "pretrain", "tracking.enabled=false"
    )
    assert "= pretrain" in again.stdout


def test_start_whose_checkpoint_is_gone_is_its_hugging_face_directory(root: Path) -> None:
    shutil.rmtree(root / "pretrain")
    config = with_start(validate(settings(root), where="x"), root, remember=False)
    assert isinstance(config.pretrain.start, HuggingFace)
    assert (Path(config.pretrain.start.path) / "model.safetensors").is_file()


def test_what_is_not_registered_is_named_before_any_work(root: Path) -> None:
    for start in ({"name": "nobody"}, {"alias": "hero"}):
        with pytest.raises(ConfigError, match="nobody|hero"):
            with_start(validate(settings(root, **start), where="x"), root, remember=True)
    assert not list((root / "resolved").glob("start-*"))


def test_damaged_record_is_named(root: Path) -> None:
    config = validate(settings(root), where="x")
    assert isinstance(with_start(config, root, remember=True).pretrain.start, FromCheckpoint)
    (record,) = (root / "resolved").glob("start-*.json")
    record.write_text("[]")
    with pytest.raises(ArtifactError, match=r"start-.*delete it"):
        with_start(config, root, remember=True)
