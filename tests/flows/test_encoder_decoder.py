"""An encoder-decoder's graph: which one a configuration asks for, and what it may not hold."""

from pathlib import Path

import pytest
import yaml

from pipeline.config import RunConfig, load, validate
from pipeline.store.errors import ConfigError

PRESET = Path("flows/configs/pydocs-t5.yaml")
EXAMPLES = {"source": {"kind": "pydocs", "max_per_kind": 100}}


def settings(**changes: object) -> RunConfig:
    document = yaml.safe_load(PRESET.read_text(encoding="utf-8"))
    return validate(document | changes, where="the preset with changes")


def test_the_preset_names_a_model_that_writes_targets() -> None:
    config = load(PRESET)
    assert config.trains_encoder and config.writes_targets
    assert config.examples is None and config.finetune is None
    bert = load(Path("flows/configs/pydocs-bert.yaml"))
    assert bert.trains_encoder and not bert.writes_targets
    assert not load(Path("flows/configs/pydocs.yaml")).writes_targets


def test_pairs_come_with_their_tuning_or_not_at_all() -> None:
    both = settings(examples=EXAMPLES, finetune={"horizon": {"steps": 3}})
    assert both.writes_targets and both.finetune is not None
    for alone in ({"examples": EXAMPLES}, {"finetune": {"horizon": {"steps": 3}}}):
        with pytest.raises(ConfigError, match="is missing; an encoder-decoder is tuned on pairs"):
            settings(**alone)


def test_weights_to_start_from_say_by_the_objective_what_they_are() -> None:
    pretrain = {
        "start": {"kind": "huggingface", "path": "somewhere"}, "objective": {"kind": "spans"},
    }  # fmt: skip
    assert settings(pretrain=pretrain).writes_targets
