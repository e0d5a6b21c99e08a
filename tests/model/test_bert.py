"""The encoder: BertForMaskedLM on random weights, both directions; who sees whom."""

import json
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from model.architectures import BertConfig, model_config_from_dict, model_config_to_dict  # noqa: E402
from model.attention import Attention, padding_mask  # noqa: E402
from model.batch import Batch  # noqa: E402
from model.cpu_attention import BLOCK_ROWS  # noqa: E402
from model.errors import ModelError, WeightsError  # noqa: E402
from model.generate import generate  # noqa: E402
from model.huggingface import export_weights, import_weights  # noqa: E402
from model.loss import nll_sum  # noqa: E402
from tests.model.conftest import BERT, random_weights, tokens  # noqa: E402

TYPES = torch.tensor([[0] * 25 + [1] * 15] * 2)


@pytest.fixture
def bert():
    return random_weights(BERT.build(seed=1))


def write(directory, config, tensors):
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, directory / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    return directory


@pytest.fixture
def theirs(bert, tmp_path):
    config, tensors = export_weights(bert)
    directory = write(tmp_path / "hf", config | {"pad_token_id": None}, tensors)
    return transformers.AutoModelForMaskedLM.from_pretrained(directory).eval()


def close(found, expected):
    return (found - expected).abs().max().item() <= 2e-6 * max(1.0, expected.abs().max().item())


def masked_batch(rows=2, length=40):
    """Targets and a loss on every fifth position."""
    inputs, targets = tokens(rows, length), tokens(rows, length, seed=9)
    mask = torch.zeros(rows, length)
    mask[:, ::5] = 1.0
    predicted = torch.arange(0, length, 5).expand(rows, -1).contiguous()
    ones = torch.ones(rows, length, dtype=torch.int64)
    positions = torch.arange(length).expand(rows, -1)
    return Batch(inputs, targets, mask, ones, positions, None, predicted)


def our_loss(model, batch):
    hidden, targets, mask = batch.at_predicted(model.hidden(batch.inputs))
    features = model.features(hidden)
    total, count = nll_sum(features, model.head_weight, targets, mask, bias=model.head_bias)
    return total / count


def test_the_default_shape_is_bert_base():
    assert BertConfig().num_parameters() == 109_514_298
    published = transformers.BertConfig()
    with torch.device("meta"):
        assert transformers.BertForMaskedLM(published).num_parameters() == 109_514_298


def test_exported_encoder_has_the_same_logits_with_both_types(bert, theirs):
    inputs = tokens(2, 40)
    assert type(theirs).__name__ == "BertForMaskedLM"
    assert close(bert(inputs), theirs(inputs).logits)
    assert close(bert(inputs, type_ids=TYPES), theirs(inputs, token_type_ids=TYPES).logits)
    assert not close(bert(inputs, type_ids=TYPES), bert(inputs))


def test_loss_and_every_gradient_equal_theirs_through_export_and_import(bert, theirs, tmp_path):
    batch = masked_batch()
    labels = torch.where(batch.loss_mask > 0, batch.targets, -100)
    expected = theirs(batch.inputs, labels=labels).loss
    expected.backward()
    theirs.save_pretrained(tmp_path / "again")
    for ours in (bert, import_weights(tmp_path / "again")):
        loss = our_loss(ours, batch)
        loss.backward()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        gradients = replace(BERT).build()
        with torch.no_grad():
            for target, source in zip(gradients.parameters(), ours.parameters(), strict=True):
                target.copy_(source.grad)
        exported = export_weights(gradients)[1]
        compared = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
        assert set(exported) == set(compared)
        for name, gradient in compared.items():
            largest = (exported[name] - gradient).abs().max().item()
            assert largest <= 1e-5, f"{name}: {largest}"


def test_import_of_what_they_save_has_the_same_logits(theirs, tmp_path):
    theirs.save_pretrained(tmp_path / "again")
    inputs = tokens(2, 40)
    assert close(import_weights(tmp_path / "again")(inputs), theirs(inputs).logits)


def test_their_padding_mask_is_our_segment_zero(bert, theirs):
    inputs = tokens(2, 20)
    valid = torch.ones(2, 20, dtype=torch.int64)
    valid[1, 13:] = 0
    ours = bert(inputs, segment_ids=valid)
    expected = theirs(inputs, attention_mask=valid).logits
    additive = theirs(inputs, attention_mask=padding_mask(valid.bool())).logits  # (B, 1, 1, T)
    real = valid.bool()
    assert close(ours[real], expected[real]) and close(ours[real], additive[real])


def test_a_released_file_with_old_names_and_other_heads_loads(bert, tmp_path):
    config, tensors = export_weights(bert)
    old = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        : t
        for n, t in tensors.items()
    }  # fmt: skip
    old |= {
        "bert.pooler.dense.weight": torch.ones(32, 32), "bert.pooler.dense.bias": torch.ones(32),
        "cls.seq_relationship.weight": torch.ones(2, 32),
        "cls.seq_relationship.bias": torch.ones(2),
        "bert.embeddings.position_ids": torch.arange(48).unsqueeze(0),
        "cls.predictions.decoder.weight": tensors["bert.embeddings.word_embeddings.weight"].clone(),
    }  # fmt: skip
    released = config | {"architectures": ["BertForPreTraining"], "hidden_dropout_prob": 0.1,
                         "attention_probs_dropout_prob": 0.1}  # fmt: skip
    inputs = tokens(1, 20)
    assert torch.equal(import_weights(write(tmp_path / "hf", released, old))(inputs), bert(inputs))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"hidden_act": "gelu_new"}, "hidden_act='gelu_new'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings"),
        ({"num_hidden_layers": 3}, "lacks blocks.2"),
        ({"new_trick": 1}, "new_trick"),
    ],
)
def test_settings_of_another_encoder_are_refused_by_name(bert, tmp_path, change, words):
    config, tensors = export_weights(bert)
    with pytest.raises(WeightsError, match=words):
        import_weights(write(tmp_path / "hf", config | change, tensors))


def test_a_missing_head_and_an_untied_one_are_refused(bert, tmp_path):
    config, tensors = export_weights(bert)
    headless = {n: t for n, t in tensors.items() if not n.startswith("cls.")}
    with pytest.raises(WeightsError, match="no masked-LM head"):
        import_weights(write(tmp_path / "a", config, headless))
    untied = {**tensors, "cls.predictions.decoder.weight": torch.ones(97, 32)}
    with pytest.raises(WeightsError, match="untied"):
        import_weights(write(tmp_path / "b", config, untied))


def test_every_token_depends_on_every_other_of_its_document_and_on_no_more(bert):
    inputs = tokens(1, 12)
    segments = torch.tensor([[1] * 5 + [2] * 7])
    before = bert(inputs, segment_ids=segments)
    changed = inputs.clone()
    changed[0, 9] = (changed[0, 9] + 1) % 97
    moved = (bert(changed, segment_ids=segments) - before).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [False] * 5 + [True] * 7


def test_packed_documents_equal_documents_alone(bert):
    first, second = tokens(1, 11), tokens(1, 8, seed=1)
    segments = torch.tensor([[1] * 11 + [2] * 8])
    together = bert(torch.cat((first, second), dim=1), segment_ids=segments)
    alone = torch.cat((bert(first), bert(second)), dim=1)
    assert (together - alone).abs().max() <= 1e-5


@pytest.mark.parametrize("cuts", [(), (5,), (BLOCK_ROWS,), (40, BLOCK_ROWS + 1, 130)])
def test_attention_by_blocks_equals_the_kernel(cuts, monkeypatch):
    length = 2 * BLOCK_ROWS + 23
    model = random_weights(replace(BERT, context_length=length).build(seed=1))
    inputs = tokens(2, length)
    segments = torch.ones(2, length, dtype=torch.int64)
    for cut in cuts:
        segments[1, cut:] += 1

    def gradients():
        model.zero_grad()
        logits = model(inputs, segment_ids=segments)
        logits.square().mean().backward()
        return [logits.detach(), *(p.grad.clone() for p in model.parameters())]

    found = gradients()
    monkeypatch.setattr(Attention, "_fits_cpu", lambda *_: False)
    for one, other in zip(found, gradients(), strict=True):
        assert (one - other).abs().max() <= 1e-5 * max(1.0, other.abs().max().item())


def test_head_on_chosen_positions_equals_the_head_on_all(bert):
    batch = masked_batch()
    logits = bert(batch.inputs)
    nll = F.cross_entropy(logits.transpose(1, 2), batch.targets, reduction="none")
    expected = (nll * batch.loss_mask).sum() / batch.loss_mask.sum()
    assert our_loss(bert, batch).item() == pytest.approx(expected.item(), abs=1e-5)
    filled = torch.cat((batch.predicted, torch.full((2, 3), -1)), dim=1)  # -1 counts as nothing
    assert our_loss(bert, replace(batch, predicted=filled)).item() == pytest.approx(
        expected.item(), abs=1e-5
    )


def test_an_encoder_is_not_asked_to_continue_text(bert):
    with pytest.raises(ModelError, match="both sides"):
        generate(bert, [[1, 2]], 3)


def test_config_survives_json():
    assert model_config_from_dict(model_config_to_dict(BERT)) == BERT
