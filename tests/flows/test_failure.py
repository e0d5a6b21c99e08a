"""What a run that ended early says: stage, artifact, last good checkpoint, the command to go on."""

import shutil
from pathlib import Path

import pytest

from flows.display import Display
from flows.failure import RunFailed, last_good_checkpoint
from flows.language_model import language_model
from flows.run import Call, called_with
from pipeline.store.errors import TrainingError
from pipeline.training import loop
from tests.flows.conftest import mill_here, small_settings, write_settings
from tests.training.test_pretrain import Poisoned


@pytest.fixture
def root(small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished root; in further training the loss is no number from the ninth step on."""
    monkeypatch.setattr(loop, "Stepper", type("P", (Poisoned,), {"bad": range(8, 1000)}))
    shutil.copytree(small_run, tmp_path / "root")
    return tmp_path / "root"


def exploding(root: Path) -> dict:
    """Settings that no earlier run had, with a checkpoint after every step."""
    settings = small_settings(root)
    settings["runtime"]["checkpoint_every_seconds"] = 0.0
    settings["pretrain"] |= {"max_skipped_in_row": 3, "seed": 3}
    return settings


def begun(root: Path, small_run: Path) -> Path:
    """The one training that was begun and not finished."""
    finished = {path.name for path in (small_run / "pretrain").iterdir()}
    (folder,) = [path for path in (root / "pretrain").iterdir() if path.name not in finished]
    return folder


def test_terminal_names_stage_artifact_checkpoint_and_command(
    root: Path, small_run: Path, tmp_path: Path
) -> None:
    config = write_settings(tmp_path / "hot settings.yaml", exploding(root))
    result = mill_here("run", str(config), "--no-prefect", "pretrain.batch_rows=2", check=False)
    assert result.returncode == TrainingError.exit_code, result.stdout + result.stderr
    folder = begun(root, small_run)
    step = last_good_checkpoint(root, f"pretrain@{folder.name}")
    assert step is not None and int(step.rpartition(" ")[2]) >= 8
    assert result.stderr.splitlines()[-1] == (
        f"in stage pretrain, pretrain@{folder.name}, {step}; finished stages are kept, "
        f"go on with: mill run '{config}' pretrain.batch_rows=2 --no-prefect"
    )
    newest = max((folder / "checkpoints").glob("step-*"))
    data = bytearray((newest / "weights.safetensors").read_bytes())
    data[-1] ^= 1
    (newest / "weights.safetensors").write_bytes(data)
    before = last_good_checkpoint(root, f"pretrain@{folder.name}")
    assert before is not None and before != step  # a damaged one is not good


def test_state_in_prefect_says_the_same(
    root: Path, small_run: Path, in_process: None, caplog: pytest.LogCaptureFixture
) -> None:
    call = Call(Display(quiet=True), command="mill run hot.yaml")
    with called_with(call):
        state = language_model(config=exploding(root), return_state=True)
    reference = f"pretrain@{begun(root, small_run).name}"
    assert state.is_failed() and state.message is not None
    sentence = (
        f"(in stage pretrain, {reference}, {last_good_checkpoint(root, reference)}; "
        "finished stages are kept, go on with: mill run hot.yaml)"
    )
    assert state.message.endswith(sentence) and "not finite" in state.message
    with pytest.raises(RunFailed) as ended:
        state.result()
    assert isinstance(ended.value.__cause__, TrainingError)
    told = [record for record in caplog.records if "not finite" in record.getMessage()]
    assert told and not any(record.exc_info for record in told)


def test_mistake_before_any_stage_is_left_as_it_is(tmp_path: Path) -> None:
    settings = small_settings(tmp_path / "root")
    settings["pretrain"]["model"] |= {"width": 65536, "layers": 1000, "head_width": 32768}
    config = write_settings(tmp_path / "large.yaml", settings)
    result = mill_here("run", str(config), "--no-prefect", check=False)
    assert result.returncode == 2 and "of memory" in result.stderr
    assert "go on with" not in result.stderr
