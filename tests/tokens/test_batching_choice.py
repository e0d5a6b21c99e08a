"""How a run chooses its rows: settings, identity, and a few steps of real training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from model.settings import settings_from_dict, settings_to_dict
from pipeline.artifacts import TokenShards, TrainedTokenizer
from pipeline.stages.pretrain import pretrain
from pipeline.store.errors import ConfigError
from pipeline.tokens.batching import (
    AnyBatching,
    CutWindows,
    Mixture,
    PackedDocuments,
    SingleDocuments,
    for_validation,
)
from pipeline.training.config import PretrainConfig, Steps
from tests.training.worlds import CONFIG, RUNTIME

MIXED = PackedDocuments(mixture=Mixture(("code", "other"), (0.8, 0.2)))
SMALL = replace(CONFIG, horizon=Steps(4), prompts=(), validation_every=2)


def test_settings_name_the_rows_and_their_mixture() -> None:
    read = TypeAdapter(PretrainConfig).validate_python
    shares = {"sources": ["code", "other"], "weights": [0.8, 0.2]}
    model = settings_to_dict(CONFIG.model)
    config = read({"model": model, "batching": {"kind": "packed", "mixture": shares}})
    assert config.batching == MIXED
    assert read({"model": model}).batching == CutWindows()
    with pytest.raises(ValidationError, match="one weight per source"):
        read({"model": model, "batching": {"kind": "packed", "mixture": shares | {"weights": [1]}}})


@pytest.mark.parametrize(
    "batching", [CutWindows(), CutWindows(reset_positions=False), SingleDocuments(), MIXED]
)
def test_a_job_file_keeps_the_choice(batching: AnyBatching) -> None:
    kinds = (CutWindows, PackedDocuments, SingleDocuments)
    assert settings_from_dict(kinds, settings_to_dict(batching)) == batching


def test_validation_rows_are_windows_whatever_is_trained_on() -> None:
    assert for_validation(MIXED) == CutWindows()
    assert not for_validation(CutWindows(reset_positions=False, mixture=MIXED.mixture)).mixture
    assert not for_validation(CutWindows(reset_positions=False)).reset_positions


def test_training_on_packed_sources_reports_what_it_saw(
    shards: TokenShards, artifact: TrainedTokenizer, root: Path
) -> None:
    config = replace(SMALL, batching=MIXED)
    checkpoint = pretrain(config, shards, artifact, root=root, runtime=RUNTIME)
    facts: dict[str, Any] = checkpoint.facts
    assert set(facts["epochs_by_source"]) == {"code", "other"}
    assert facts["epochs_by_source"]["other"] > facts["epochs_by_source"]["code"]
    assert 0 <= facts["padding"] < 0.1
    assert checkpoint.manifest.config["batching"]["kind"] == "packed"


def test_the_default_rows_leave_the_identity_of_earlier_runs_alone(
    shards: TokenShards, artifact: TrainedTokenizer, root: Path
) -> None:
    checkpoint = pretrain(SMALL, shards, artifact, root=root, runtime=RUNTIME)
    assert "batching" not in checkpoint.manifest.config
    other = replace(SMALL, batching=CutWindows(reset_positions=False))
    assert pretrain(other, shards, artifact, root=root, runtime=RUNTIME) != checkpoint


def test_a_source_the_corpus_lacks_is_refused_before_training(
    shards: TokenShards, artifact: TrainedTokenizer, root: Path
) -> None:
    config = replace(SMALL, batching=CutWindows(mixture=Mixture(("wiki",), (1.0,))))
    with pytest.raises(ConfigError, match="'wiki'; the shards hold"):
        pretrain(config, shards, artifact, root=root, runtime=RUNTIME)
