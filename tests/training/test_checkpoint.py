"""A checkpoint is whole and ours, or it is not used."""

import dataclasses
import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from model.optim import AdamWConfig, build_optimizer
from pipeline.store.errors import ArtifactError, TrainingError
from pipeline.training import checkpoint
from pipeline.training.checkpoint import (
    Snapshot,
    TrainingState,
    resume,
    write_best,
    write_checkpoint,
)
from pipeline.training.records import append, read_records, rewind
from tests.training.worlds import MODEL


class Saved:
    """A model with some training behind it and three checkpoints on disk, of which two are kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = MODEL.build(seed=1)
        self.optimizer = build_optimizer(self.model, AdamWConfig())
        self.weights: dict[int, torch.Tensor] = {}
        for step in (1, 2, 3):
            self.model(torch.arange(8)[None]).square().mean().backward()
            self.optimizer.step()
            self.weights[step] = self.model.head_weight.detach().clone()
            state = TrainingState(step=step, recent_losses=[0.1, 1 / 3])
            self.save(state)

    def save(self, state: TrainingState, **options: int) -> None:
        weights, moments = self.model.state_dict(), self.optimizer.state_tensors()
        snapshot = Snapshot(state, weights, moments)
        write_checkpoint(self.folder, digest="d", snapshot=snapshot, **options)

    def load(self, *, digest: str = "d"):
        model = MODEL.build(seed=2)
        optimizer = build_optimizer(model, AdamWConfig())
        damaged: list[str] = []
        state = resume(
            self.folder, digest=digest, model=model, optimizer=optimizer, needs_best=False,
            damaged=damaged.append,
        )  # fmt: skip
        return state, model, optimizer, damaged


@pytest.fixture
def saved(tmp_path):
    return Saved(tmp_path / "checkpoints")


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_newest_checkpoint_comes_back_bit_for_bit(saved):
    state, model, optimizer, damaged = saved.load()
    assert state == TrainingState(step=3, recent_losses=[0.1, 1 / 3])
    assert torch.equal(model.head_weight, saved.weights[3])
    ours, theirs = optimizer.state_tensors(), saved.optimizer.state_tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert damaged == []


def test_only_two_checkpoints_stay(saved):
    names = sorted(p.name for p in saved.folder.iterdir())
    assert names == ["step-00000002", "step-00000003"]


def test_more_stay_where_more_are_asked_for(saved):
    saved.save(TrainingState(step=4), kept=3)
    names = sorted(p.name for p in saved.folder.iterdir())
    assert names == ["step-00000002", "step-00000003", "step-00000004"]


def test_old_checkpoints_stay_when_the_new_one_reads_back_damaged(saved, monkeypatch):
    def damaged(folder: Path) -> None:
        raise ArtifactError(f"{folder} is damaged")

    monkeypatch.setattr(checkpoint, "verify_folder", damaged)
    with pytest.raises(ArtifactError, match="step-00000004 is damaged"):
        saved.save(TrainingState(step=4))
    assert {"step-00000002", "step-00000003"} <= {p.name for p in saved.folder.iterdir()}


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.safetensors", "state.json"])
def test_flipped_byte_falls_back_to_the_checkpoint_before(saved, name):
    flip_a_byte(saved.folder / "step-00000003" / name)
    state, model, _, damaged = saved.load()
    assert state.step == 2
    assert torch.equal(model.head_weight, saved.weights[2])
    assert len(damaged) == 1
    assert "step-00000003" in damaged[0]


@pytest.mark.parametrize("name", ["weights.safetensors", "complete.json"])
def test_deleted_file_falls_back_to_the_checkpoint_before(saved, name):
    (saved.folder / "step-00000003" / name).unlink()
    assert saved.load()[0].step == 2


def test_all_damaged_is_an_error_and_never_a_silent_fresh_start(saved):
    for step in (2, 3):
        flip_a_byte(saved.folder / f"step-{step:08d}" / "weights.safetensors")
    with pytest.raises(TrainingError, match="all 2 checkpoints"):
        saved.load()


def test_checkpoint_of_another_job_is_refused(saved):
    with pytest.raises(ArtifactError, match="delete"):
        saved.load(digest="another")


def test_unfinished_save_is_not_seen(saved):
    (saved.folder / "step-00000009.tmp-1").mkdir()
    assert saved.load()[0].step == 3


def test_full_disk_is_reported_and_leaves_the_old_checkpoints(saved, monkeypatch):
    def full(tensors, path, metadata=None):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    with pytest.raises(ArtifactError, match="disk is full"):
        saved.save(TrainingState(step=4))
    monkeypatch.undo()
    assert saved.load()[0].step == 3
    assert sorted(p.name for p in saved.folder.iterdir())[-1] == "step-00000003"


def test_failing_disk_stays_an_os_error(saved, monkeypatch):
    def broken(tensors, path, metadata=None):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint, "save_tensors", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_best(saved.folder, step=4, weights=saved.model.state_dict())


def test_best_weights_stay_while_a_kept_checkpoint_needs_them(saved):
    for step, best in ((4, 4), (5, 4), (6, 6), (7, 6)):
        if step == best:
            write_best(saved.folder, step=best, weights=saved.model.state_dict())
        state = TrainingState(step=step, best_step=best, best_loss=1.0)
        saved.save(state)
        names = {p.name for p in saved.folder.iterdir()}
        assert f"best-{best:08d}" in names
        assert ("best-00000004" in names) == (step < 7)


def test_milestones_stay_beside_the_newest(saved):
    for step in range(4, 12):
        saved.save(TrainingState(step=step), milestone_steps=4)
    steps = sorted(p.name for p in saved.folder.glob("step-*"))
    assert steps == ["step-00000004", "step-00000008", "step-00000010", "step-00000011"]


def test_nothing_saved_is_pickled(saved):
    for path in saved.folder.rglob("*"):
        assert path.is_dir() or path.suffix in (".safetensors", ".json")
    state = json.loads((saved.folder / "step-00000003" / "state.json").read_text())["state"]
    assert state.keys() == {f.name for f in dataclasses.fields(TrainingState)}


def test_torn_last_line_is_dropped_and_later_steps_forgotten(tmp_path):
    path = tmp_path / "curve.jsonl"
    append(path, [{"step": 1}, {"step": 2}, {"step": 3}])
    with path.open("a") as handle:
        handle.write('{"step": 4, "tr')
    assert rewind(path, step=2) == [{"step": 1}, {"step": 2}]
    assert read_records(path) == [{"step": 1}, {"step": 2}]


def test_torn_middle_line_is_an_error(tmp_path):
    path = tmp_path / "curve.jsonl"
    path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ArtifactError, match="line 2"):
        read_records(path)
