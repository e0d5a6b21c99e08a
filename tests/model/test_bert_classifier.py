"""The encoder with a head for classes: transformers' classifiers on random weights, both ways."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification

from model.architectures import model_config_from_dict, model_config_to_dict
from model.bert import BertConfig
from model.bert_classifier import HEAD, BertClassifierConfig, Level, classifier_of, with_new_head
from model.checkpoint_io import load_model, save_model, save_tensors
from model.errors import WeightsError
from model.huggingface import export_weights, import_weights
from model.language_model import LanguageModel

ENCODER = BertConfig(vocab_size=50, context_length=16, width=16, layers=2, heads=2, hidden_width=32)
LABELS = ("cat", "dog", "über")
FAMILIES = {"text": AutoModelForSequenceClassification, "word": AutoModelForTokenClassification}


def noisy(config: BertConfig, seed: int = 0) -> LanguageModel:
    """Random weights in every part: fresh ones have heads near zero."""
    model = config.build(seed=seed).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.empty_like(parameter).normal_(0.0, 0.2, generator=generator))
    return model


def exported(model: LanguageModel, directory: Path) -> Path:
    document, tensors = export_weights(model)
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(document), encoding="utf-8")
    save_tensors(tensors, directory / "model.safetensors", {"format": "pt"})
    return directory


@pytest.mark.parametrize("level", ["text", "word"])
def test_exported_classifier_has_the_logits_and_the_labels_of_ours(
    tmp_path: Path, level: Level
) -> None:
    model = noisy(classifier_of(ENCODER, LABELS, level))
    hf = exported(model, tmp_path / "hf")
    theirs, loading = FAMILIES[level].from_pretrained(hf, output_loading_info=True)
    assert not any(loading.values())  # every weight found, none left over
    assert [theirs.config.id2label[i] for i in range(3)] == list(LABELS)
    ids = torch.randint(0, 50, (4, 16), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        ours = model(ids)
        expected = theirs.eval()(input_ids=ids).logits
    ours = ours[:, 0] if level == "text" else ours
    assert torch.allclose(ours, expected, atol=1e-5) and ours.std() > 0.1


@pytest.mark.parametrize("level", ["text", "word"])
def test_classifiers_come_back_from_theirs_and_from_our_files(tmp_path: Path, level: Level) -> None:
    model = noisy(classifier_of(ENCODER, LABELS, level))
    save_model(model, tmp_path / "ours")
    FAMILIES[level].from_pretrained(exported(model, tmp_path / "hf")).save_pretrained(
        tmp_path / "again"
    )
    ids = torch.arange(16).unsqueeze(0)
    for back in (load_model(tmp_path / "ours"), import_weights(tmp_path / "again")):
        assert isinstance(back.config, BertClassifierConfig)
        assert (back.config.labels, back.config.level) == (LABELS, level)
        with torch.inference_mode():
            assert torch.equal(back.eval()(ids), model(ids))
    assert model_config_from_dict(model_config_to_dict(model.config)) == model.config


def test_a_new_head_leaves_the_encoder_bit_for_bit_and_depends_on_the_seed() -> None:
    encoder, config = noisy(ENCODER), classifier_of(ENCODER, LABELS, "text")
    first, again, other = (
        with_new_head(config, encoder.state_dict(), seed=seed) for seed in (1, 1, 2)
    )
    assert first.keys() == config.build(seed=0).state_dict().keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, again[name])
        if not name.startswith(HEAD):
            assert torch.equal(tensor, encoder.state_dict()[name])
    assert not torch.equal(first["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"problem_type": "multi_label_classification"}, "only one class per text"),
        ({"problem_type": "regression"}, "only one class per text"),
        ({"id2label": {"0": "a", "2": "b"}}, "not 0, 1"),
        ({"id2label": {"0": "a"}}, "two or more different names"),
        ({"id2label": {"0": "a", "1": "a"}}, "two or more different names"),
        ({"id2label": {"0": "a", "1": "b"}}, "the shape"),
    ],
)
def test_foreign_classifiers_of_another_kind_are_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    hf = exported(noisy(classifier_of(ENCODER, LABELS, "text")), tmp_path)
    document = json.loads((hf / "config.json").read_text(encoding="utf-8"))
    (hf / "config.json").write_text(json.dumps(document | change), encoding="utf-8")
    with pytest.raises(WeightsError, match=words):
        import_weights(hf)


def test_one_class_or_a_name_twice_is_no_classifier() -> None:
    for labels in ((), ("a",), ("a", "a")):
        with pytest.raises(ValueError, match="two or more different names"):
            classifier_of(ENCODER, labels, "text")
