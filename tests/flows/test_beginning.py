"""How a flow begins and how a worker's run ends: counted starts, stopping that is no failure."""

from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from prefect.exceptions import TerminationSignal

from flows import beginning
from flows.display import Display
from flows.stage import Stage
from pipeline.store.errors import TrainingError
from pipeline.training.stopping import Preempted


class Context:
    """What Prefect knows about the current flow run."""

    def __init__(self, deployment_id: str | None) -> None:
        self.flow_run = SimpleNamespace(deployment_id=deployment_id, id="1234", parameters={})

    def get(self) -> "Context":
        return self


def stop(*_arguments: Any) -> None:
    raise Preempted("asked to stop; saved step 7")


@pytest.mark.parametrize(("deployment", "ends"), [(None, Preempted), ("x", TerminationSignal)])
def test_training_that_saved_ends_a_workers_run_as_a_signal_does(monkeypatch, deployment, ends):
    monkeypatch.setattr(beginning, "FlowRunContext", Context(deployment))
    stage = Stage("pretrain", stop)
    monkeypatch.setattr(stage, "_execute", stop)
    with pytest.raises(ends):
        stage._run_task(None, None, (), "pretrain")


@pytest.mark.parametrize(
    ("deployment", "starts", "refused"), [("x", 4, False), ("x", 5, True), (None, 9, False)]
)
def test_run_that_was_started_too_often_fails(monkeypatch, deployment, starts, refused):
    monkeypatch.setattr(beginning, "crash_stale_tasks", lambda identifier: None)
    monkeypatch.setattr(beginning, "FlowRunContext", Context(deployment))
    monkeypatch.setattr(beginning, "flow_run", SimpleNamespace(run_count=starts, id=uuid4()))
    if refused:
        with pytest.raises(TrainingError, match="started 5 times and crashed each time"):
            beginning.begin(Display)
    else:
        call = beginning.begin(Display)
        assert call.only is None
        assert call.command == ("prefect flow-run retry 1234" if deployment else "")
