"""Saving beside the training: a copy of that moment, in order, and its errors reach the loop."""

import threading
import time
from pathlib import Path

import pytest
import torch

from model.optim import AdamWConfig, build_optimizer
from pipeline.store.errors import ArtifactError
from pipeline.training import checkpoint, saving
from pipeline.training.checkpoint import TrainingState, resume
from pipeline.training.saving import Saver
from tests.training.worlds import MODEL


@pytest.fixture
def trained():
    model = MODEL.build(seed=1)
    optimizer = build_optimizer(model, AdamWConfig())
    model(torch.arange(8)[None]).square().mean().backward()
    optimizer.step()
    return model, optimizer


def weights_and_moments(trained):
    model, optimizer = trained
    return model.state_dict(), optimizer.state_tensors()


@pytest.fixture
def saver(tmp_path):
    made = Saver(tmp_path / "checkpoints", digest="d", kept=2)
    yield made
    made.close()


def held_back(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Writing waits until the event is set."""
    go, write = threading.Event(), checkpoint.save_tensors

    def waiting(*args, **kwargs):
        assert go.wait(30)
        return write(*args, **kwargs)

    monkeypatch.setattr(checkpoint, "save_tensors", waiting)
    return go


def load(folder: Path):
    model = MODEL.build(seed=2)
    optimizer = build_optimizer(model, AdamWConfig())
    state = resume(
        folder, digest="d", model=model, optimizer=optimizer, needs_best=False, damaged=pytest.fail
    )
    return state, model, optimizer


def test_training_on_while_a_save_is_under_way_does_not_change_what_is_saved(
    saver, trained, monkeypatch
):
    model, optimizer = trained
    before = {name: value.clone() for name, value in model.state_dict().items()}
    moments = {name: value.clone() for name, value in optimizer.state_tensors().items()}
    go = held_back(monkeypatch)
    state = TrainingState(step=1, recent_losses=[1.0])
    saver.checkpoint(state, *weights_and_moments(trained))
    optimizer.step()
    state.recent_losses.append(2.0)
    go.set()
    saver.wait()
    found, loaded, loaded_optimizer = load(saver.checkpoints)
    assert found == TrainingState(step=1, recent_losses=[1.0])
    assert all(torch.equal(loaded.state_dict()[name], before[name]) for name in before)
    saved = loaded_optimizer.state_tensors()
    assert saved.keys() == moments.keys()
    assert all(torch.equal(saved[name], moments[name]) for name in moments)


def test_the_loop_does_not_wait_for_the_disk(saver, trained, monkeypatch):
    go = held_back(monkeypatch)
    saver.checkpoint(TrainingState(step=1), *weights_and_moments(trained))
    saver.look()
    assert not (saver.checkpoints / "step-00000001").exists()
    go.set()
    saver.wait()
    assert (saver.checkpoints / "step-00000001").is_dir()


def test_next_save_waits_for_the_one_before_so_memory_holds_one_copy(saver, trained, monkeypatch):
    go = held_back(monkeypatch)
    saver.checkpoint(TrainingState(step=1), *weights_and_moments(trained))
    threading.Timer(0.2, go.set).start()
    saver.checkpoint(TrainingState(step=2), *weights_and_moments(trained))
    assert (saver.checkpoints / "step-00000001").is_dir()
    assert saver.stalled > 0.1


@pytest.mark.parametrize("way", ["look", "wait", "next save"])
def test_failed_save_is_raised_in_the_loop(saver, trained, monkeypatch, way):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    saver.checkpoint(TrainingState(step=1), *weights_and_moments(trained))
    deadline = time.monotonic() + 30
    while way == "look" and not saver.pending[0].done():
        assert time.monotonic() < deadline
    act = {
        "look": saver.look,
        "wait": saver.wait,
        "next save": lambda: saver.checkpoint(TrainingState(step=2), *weights_and_moments(trained)),
    }[way]
    with pytest.raises(ArtifactError, match="disk is full"):
        act()


def test_best_weights_are_on_disk_before_the_checkpoint_that_names_them(
    saver, trained, monkeypatch
):
    order: list[str] = []
    for name in ("write_best", "write_checkpoint"):
        write = getattr(saving, name)

        def noting(*args, write=write, name=name, **kwargs):
            order.append(name)
            return write(*args, **kwargs)

        monkeypatch.setattr(saving, name, noting)
    weights, moments = weights_and_moments(trained)
    saver.best(1, weights)
    saver.checkpoint(TrainingState(step=1, best_step=1, best_loss=1.0), weights, moments)
    saver.close()
    assert order == ["write_best", "write_checkpoint"]
    assert (saver.checkpoints / "best-00000001").is_dir()
