import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.config import load
from pipeline.serving.forms import message_ids, pair_template
from pipeline.serving.model_card import Training, kilowatt_hours
from pipeline.stages.export_model import ExportConfig, export_model
from pipeline.store.errors import ArtifactError
from pipeline.tokens.tokenizer import Tokenizer
from tests.registry.worlds import RUNTIME, World

CONVERSATION = [
    {"role": "system", "content": "s"},
    {"role": "user", "content": "a"},
    {"role": "assistant", "content": "b"},
    {"role": "user", "content": "c"},
]


def test_export_loads_in_transformers_with_equal_logits(world: World) -> None:
    base = world.base()
    exported = world.exported(base, world.report(base, world.eval_set(), bits=1.5))
    assert exported.facts["max_relative_logit_difference"] <= 1e-5
    model = AutoModelForCausalLM.from_pretrained(exported.hf_path)
    assert model.config.bos_token_id == Tokenizer.load(world.tokenizer().path).bos
    assert model(torch.arange(9).unsqueeze(0)).logits.shape == (1, 9, 263)


def test_export_holds_no_pickle_and_no_code(world: World) -> None:
    base = world.base()
    exported = world.exported(base, world.report(base, world.eval_set(), bits=1.5))
    kinds = {path.suffix for path in exported.hf_path.iterdir()}
    assert kinds == {".json", ".safetensors", ".md"}
    assert "auto_map" not in json.loads((exported.hf_path / "config.json").read_text())


@pytest.mark.parametrize("form", ["pair", "chat"])
def test_chat_template_gives_the_ids_the_model_was_tuned_on(world: World, form: str) -> None:
    tuned = world.tuned(world.base(), form=form)
    exported = world.exported(tuned, world.report(tuned, world.eval_set(), bits=1.6))
    assert exported.facts["message_form"] == form
    theirs = AutoTokenizer.from_pretrained(exported.hf_path)
    rendered = theirs.apply_chat_template(CONVERSATION, add_generation_prompt=True, tokenize=False)
    ours = Tokenizer.load(world.tokenizer().path)
    expected = message_ids(CONVERSATION, ours, "answer", form)  # type: ignore[arg-type]
    assert theirs(rendered, add_special_tokens=False).input_ids == expected


def test_base_export_has_no_chat_template(world: World) -> None:
    base = world.base()
    exported = world.exported(base, world.report(base, world.eval_set(), bits=1.5))
    assert AutoTokenizer.from_pretrained(exported.hf_path).chat_template is None
    assert "message" in pair_template()


def test_card_states_measurement_interval_licence_and_origin(world: World) -> None:
    tuned = world.tuned(world.base())
    exported = world.exported(tuned, world.report(tuned, world.eval_set(), bits=1.6))
    card = (exported.hf_path / "README.md").read_text()
    assert "1.6 (95 % interval 1.59 to 1.61" in card
    assert "license: other" in card
    assert tuned.ref in card and world.base().ref in card


def test_export_with_another_checkpoints_report_is_refused(world: World) -> None:
    report = world.report(world.base(), world.eval_set(), bits=1.5)
    with pytest.raises(ArtifactError, match="evaluate this checkpoint first"):
        export_model(
            ExportConfig(), world.base(seed=1), world.tokenizer(), report,
            root=world.root, runtime=RUNTIME,
        )  # fmt: skip


def test_export_twice_is_one_artifact(world: World) -> None:
    base = world.base()
    report = world.report(base, world.eval_set(), bits=1.5)
    assert world.exported(base, report) == world.exported(base, report)


def test_card_states_licences_the_formula_of_the_energy_and_the_limits(world: World) -> None:
    checkpoint = world.base()
    report = world.report(checkpoint, world.eval_set(), bits=1.5)
    config = ExportConfig(source_licenses={"s": "CC0-1.0"}, watts=50.0, limits="Only a test.")
    exported = export_model(
        config, checkpoint, world.tokenizer(), report, root=world.root, runtime=RUNTIME
    )
    card = (exported.hf_path / "README.md").read_text(encoding="utf-8")
    for heading in ("Data", "Training", "Measured", "Limits", "Lineage", "Licence"):
        assert f"\n## {heading}\n" in card
    assert "Only a test." in card and "reads at most 48 tokens at once" in card
    assert f"`{checkpoint.ref}`" in card and f"`{report.ref}`" in card


@pytest.mark.parametrize(
    ("device", "watts", "expected"), [("cpu", None, 0.2), ("cuda", None, 1.4), ("cpu", 360.0, 0.72)]
)
def test_energy_is_power_times_processes_times_time(
    device: str, watts: float | None, expected: float
) -> None:
    run = Training("pretrain@0", seconds=3600.0, processes=2, device=device)
    assert kilowatt_hours([run], watts) == pytest.approx(expected)
    assert kilowatt_hours([run, run], watts) == pytest.approx(2 * expected)


@pytest.mark.parametrize(
    ("overrides", "name"),
    [([], "pydocs"), (["registry.name=other"], "other"), (["export.name=mine"], "mine")],
)
def test_model_is_exported_under_its_registered_name_unless_it_has_its_own(
    overrides: list[str], name: str
) -> None:
    config = load(Path(__file__).parents[2] / "flows" / "configs" / "pydocs.yaml", overrides)
    assert config.export.name == name
