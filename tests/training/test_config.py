"""The settings check themselves, with pydantic and without."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from model.architectures import Qwen3Config
from model.optim import AdamWConfig, MuonConfig
from pipeline.config import load
from pipeline.store.errors import ConfigError
from pipeline.training.config import (
    Epochs,
    FinetuneConfig,
    FromCheckpoint,
    Minutes,
    PretrainConfig,
    Steps,
    Tokens,
)
from pipeline.training.job import read_job, write_job
from tests.training.worlds import CONFIG, make_job


class Run(BaseModel):
    pretrain: PretrainConfig
    finetune: FinetuneConfig = FinetuneConfig()


SETTINGS = {
    "model": {"kind": "qwen3", "width": 64, "heads": 4, "kv_heads": 2, "head_width": 16},
    "horizon": {"tokens": 1000},
    "optimizer": {"kind": "muon", "learning_rate": 0.01},
    "start": {"kind": "checkpoint", "ref": "pretrain@0123456789ab"},
    "prompts": ["The module"],
}


def test_yaml_settings_become_frozen_dataclasses():
    config = Run.model_validate({"pretrain": SETTINGS}).pretrain
    assert config.model == Qwen3Config(width=64, heads=4, kv_heads=2, head_width=16)
    assert config.horizon == Tokens(1000)
    assert config.optimizer == MuonConfig(learning_rate=0.01)
    assert config.start == FromCheckpoint("pretrain@0123456789ab")
    assert config.prompts == ("The module",)


@pytest.mark.parametrize(
    ("horizon", "expected"), [({"epochs": 1.5}, Epochs(1.5)), ({"steps": 3}, Steps(3))]
)
def test_horizon_is_typed_by_its_key(horizon, expected):
    settings = {"pretrain": SETTINGS, "finetune": {"horizon": horizon}}
    assert Run.model_validate(settings).finetune.horizon == expected


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_row": 3},
        {"batch_rows": 0},
        {"horizon": {"tokens": -1}},
        {"horizon": {"tokens": 5, "steps": 5}},
        {"horizon": {"epochs": 0}},
        {"micro_batch_rows": 17},
        {"grad_clip": 0.0},
        {"dtype": "float16"},
        {"optimizer": {"kind": "sgd"}},
        {"start": {"kind": "scratch"}, "model": None},
    ],
)
def test_wrong_setting_is_refused(wrong):
    with pytest.raises(ValidationError):
        Run.model_validate({"pretrain": {**SETTINGS, **wrong}})


def test_dataclass_checks_itself_without_pydantic():
    with pytest.raises(ValueError, match="batch_rows=0"):
        replace(CONFIG, batch_rows=0)
    with pytest.raises(ValueError, match="model is missing"):
        PretrainConfig()
    with pytest.raises(ValueError, match="micro_batch_rows=5 exceeds batch_rows=4"):
        replace(CONFIG, micro_batch_rows=5)


def test_schema_carries_descriptions_and_bounds():
    schema = Run.model_json_schema()["$defs"]["PretrainConfig"]["properties"]
    assert schema["context_length"]["minimum"] == 8
    assert schema["context_length"]["description"] == "Positions per row."


def test_job_survives_its_file(tmp_path, world):
    path = make_job(tmp_path, *world, optimizer=AdamWConfig(betas=(0.8, 0.9)))
    job = read_job(path)
    write_job(tmp_path / "copy.json", job)
    assert read_job(tmp_path / "copy.json") == job
    assert job.optimizer == AdamWConfig(betas=(0.8, 0.9))


TINY_FILE = Path(__file__).parents[2] / "flows" / "configs" / "tiny.yaml"
AUTO = ["pretrain.size=auto", "pretrain.budget={minutes: 1}"]


def test_size_on_the_command_line_takes_the_files_choices_out_of_the_way():
    config = load(TINY_FILE, AUTO).pretrain
    assert (config.size, config.budget, config.model) == ("auto", Minutes(1), None)
    assert config.context_length == 128  # the file's own: size does not decide it
    assert config.prompts == ("Return the",)


@pytest.mark.parametrize("beside", ["pretrain.model.layers=3", "pretrain.batch_rows=4"])
def test_size_and_what_it_decides_on_one_command_line_are_refused(beside):
    with pytest.raises(ConfigError, match="is chosen by size: auto"):
        load(TINY_FILE, [*AUTO, beside])
    with pytest.raises(ConfigError, match="budget is set without size"):
        load(TINY_FILE, AUTO[1:])
