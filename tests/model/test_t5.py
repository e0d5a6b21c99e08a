"""The encoder-decoder: T5ForConditionalGeneration on random weights, both directions; who sees
whom; generating from the encoder's output."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
transformers = pytest.importorskip("transformers")

from model.architectures import (  # noqa: E402
    Initialization,
    T5Config,
    model_config_from_dict,
    model_config_to_dict,
)
from model.batch import Source  # noqa: E402
from model.encoder_decoder import EncoderDecoder  # noqa: E402
from model.errors import ContextLengthError, ModelError, WeightsError  # noqa: E402
from model.generate import generate  # noqa: E402
from model.huggingface import export_weights, import_weights  # noqa: E402
from model.loss import nll_sum  # noqa: E402
from model.relative_positions import relative_buckets  # noqa: E402
from tests.model.conftest import QWEN3, random_weights, tokens  # noqa: E402

T5 = T5Config(
    vocab_size=97, context_length=48, width=32, layers=2, decoder_layers=3, heads=4, head_width=6,
    hidden_width=56, buckets=8, max_distance=20, init=Initialization(1.0, 0.5, 1.0),
)  # fmt: skip
TIED = replace(T5, tied_head=True)
START, END = 95, 96


@pytest.fixture(params=[T5, TIED], ids=["untied", "tied"])
def t5(request: pytest.FixtureRequest) -> EncoderDecoder:
    return build(request.param)


def build(config: T5Config = T5) -> EncoderDecoder:
    model = random_weights(config.build(seed=1))
    assert isinstance(model, EncoderDecoder)
    return model.eval()


def write(directory: Path, config: dict[str, Any], tensors: dict[str, Tensor]) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file({n: t.contiguous() for n, t in tensors.items()}, directory / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    return directory


def in_transformers(model: EncoderDecoder, directory: Path) -> Any:
    config, tensors = export_weights(model)
    folder = write(
        directory, config | {"pad_token_id": 0, "decoder_start_token_id": START}, tensors
    )
    return transformers.AutoModelForSeq2SeqLM.from_pretrained(folder).eval()


def close(found: Tensor, expected: Tensor) -> bool:
    return bool(
        (found - expected).abs().max().item() <= 2e-6 * max(1.0, expected.abs().max().item())
    )


def source(rows: int = 2, length: int = 30, lengths: tuple[int, ...] = ()) -> Source:
    segments = torch.ones(rows, length, dtype=torch.int64)
    for row, stop in enumerate(lengths):
        segments[row, stop:] = 0
    return Source(tokens(rows, length, seed=5), segments)


def loss_of(model: EncoderDecoder, inputs: Tensor, targets: Tensor, given: Source) -> Tensor:
    hidden = model.hidden(inputs, source=given)
    mask = torch.ones(targets.shape)
    total, count = nll_sum(model.features(hidden), model.head_weight, targets, mask)
    return total / count


def test_the_default_shape_is_t5_v1_1_small() -> None:
    assert T5Config().num_parameters() == 76_961_152
    # google/t5-v1_1-base: 247,577,856
    base = T5Config(width=768, layers=12, heads=12, hidden_width=2048)
    assert base.num_parameters() == 247_577_856


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize(("buckets", "furthest"), [(32, 128), (8, 20), (16, 64)])
def test_buckets_are_theirs_at_every_distance(
    bidirectional: bool, buckets: int, furthest: int
) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distance = torch.arange(-700, 701)
    found = relative_buckets(
        distance, bidirectional=bidirectional, buckets=buckets, max_distance=furthest
    )
    expected = T5Attention._relative_position_bucket(distance, bidirectional, buckets, furthest)
    assert torch.equal(found, expected)


def test_exported_model_has_the_same_logits(t5: EncoderDecoder, tmp_path: Path) -> None:
    theirs = in_transformers(t5, tmp_path / "hf")
    given, inputs = source(), tokens(2, 21)
    assert type(theirs).__name__ == "T5ForConditionalGeneration"
    expected = theirs(input_ids=given.inputs, decoder_input_ids=inputs).logits
    assert close(t5(inputs, source=given), expected)


def test_loss_and_every_gradient_equal_theirs_through_export_and_import(
    t5: EncoderDecoder, tmp_path: Path
) -> None:
    theirs = in_transformers(t5, tmp_path / "hf")
    given, targets = source(), tokens(2, 21, seed=3)
    inputs = torch.cat((torch.full((2, 1), START), targets[:, :-1]), dim=1)  # teacher forcing
    expected = theirs(input_ids=given.inputs, labels=targets).loss
    expected.backward()
    theirs.save_pretrained(tmp_path / "again")
    for ours in (t5, import_weights(tmp_path / "again")):
        assert isinstance(ours, EncoderDecoder)
        loss = loss_of(ours, inputs, targets, given)
        loss.backward()
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        gradients = ours.config.build()
        with torch.no_grad():
            for target, source_ in zip(gradients.parameters(), ours.parameters(), strict=True):
                assert source_.grad is not None
                target.copy_(source_.grad)
        exported = export_weights(gradients)[1]
        compared = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
        assert set(exported) == set(compared)
        for name, gradient in compared.items():
            largest = (exported[name] - gradient).abs().max().item()
            assert largest <= 1e-5, f"{name}: {largest}"


def test_what_they_save_loads_with_the_same_logits(t5: EncoderDecoder, tmp_path: Path) -> None:
    theirs = in_transformers(t5, tmp_path / "hf")
    theirs.save_pretrained(tmp_path / "again")  # writes tie_word_embeddings: true for every T5
    again = import_weights(tmp_path / "again")
    assert isinstance(again, EncoderDecoder)
    given, inputs = source(), tokens(2, 10)
    assert again.config.tied_head == t5.config.tied_head  # type: ignore[attr-defined]
    assert close(again(inputs, source=given), t5(inputs, source=given))


def test_a_file_of_the_first_releases_loads(tmp_path: Path) -> None:
    model = build()
    config, tensors = export_weights(model)
    for key in ("scale_decoder_outputs", "num_decoder_layers"):
        config.pop(key)
    config |= {"n_positions": 512, "output_past": True, "dropout_rate": 0.1, "is_gated_act": True,
               "dense_act_fn": "gelu_new", "num_layers": 3,
               "tokenizer_class": "T5Tokenizer"}  # fmt: skip
    old = replace(T5, layers=3, decoder_layers=None)
    tensors = export_weights(build(old))[1]
    more = {
        "encoder.embed_tokens.weight": tensors["shared.weight"].clone(),
        "decoder.embed_tokens.weight": tensors["shared.weight"].clone(),
        "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight": torch.ones(8, 4),
    }
    loaded = import_weights(write(tmp_path / "hf", config, tensors | more))
    given, inputs = source(), tokens(2, 10)
    assert torch.equal(loaded(inputs, source=given), build(old)(inputs, source=given))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"feed_forward_proj": "relu"}, "feed_forward_proj='relu'"),
        ({"feed_forward_proj": "gated-silu"}, "gated-silu"),
        ({"num_decoder_layers": 4}, "lacks blocks.3"),
        ({"scale_decoder_outputs": True}, "lm_head.weight is not shared.weight"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"new_trick": 1}, "new_trick"),
    ],
)
def test_settings_of_another_family_are_refused_by_name(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    config, tensors = export_weights(build())
    with pytest.raises(WeightsError, match=words):
        import_weights(write(tmp_path / "hf", config | change, tensors))


def test_a_tied_head_without_its_scaling_is_refused(tmp_path: Path) -> None:
    config, tensors = export_weights(build(TIED))
    with pytest.raises(WeightsError, match="without scaling"):
        import_weights(write(tmp_path, config | {"scale_decoder_outputs": False}, tensors))


def test_padding_of_either_side_changes_nothing(t5: EncoderDecoder, tmp_path: Path) -> None:
    padded, inputs = source(2, 30, lengths=(30, 19)), tokens(2, 12)
    valid = torch.ones(2, 12, dtype=torch.int64)
    valid[1, 7:] = 0
    logits = t5(inputs, segment_ids=valid, source=padded)
    alone = t5(inputs[1:, :7], source=Source(padded.inputs[1:, :19], padded.segment_ids[1:, :19]))
    assert close(logits[1, :7], alone[0])
    theirs = in_transformers(t5, tmp_path / "hf")
    expected = theirs(input_ids=padded.inputs, attention_mask=padded.segment_ids,
                      decoder_input_ids=inputs).logits  # fmt: skip
    assert close(t5(inputs, source=padded), expected)
    other = replace(padded, inputs=torch.where(padded.segment_ids > 0, padded.inputs, 3))
    assert torch.equal(t5(inputs, segment_ids=valid, source=other)[valid > 0], logits[valid > 0])


def test_packed_pairs_equal_pairs_alone(t5: EncoderDecoder) -> None:
    first, second = tokens(1, 11), tokens(1, 8, seed=1)
    one, other = tokens(1, 5, seed=2), tokens(1, 7, seed=3)
    segments = torch.tensor([[1] * 11 + [2] * 8])
    packed = Source(torch.cat((first, second), dim=1), segments)
    together = t5(torch.cat((one, other), dim=1), segment_ids=torch.tensor([[1] * 5 + [2] * 7]),
                  source=packed)  # fmt: skip
    ones = torch.ones_like
    alone = (t5(one, source=Source(first, ones(first))),
             t5(other, source=Source(second, ones(second))))  # fmt: skip
    assert (together - torch.cat(alone, dim=1)).abs().max() <= 1e-5


def test_a_target_sees_its_past_and_all_of_its_source(t5: EncoderDecoder) -> None:
    inputs, given = tokens(1, 9), source(1, 12)
    before = t5(inputs, source=given)
    changed = inputs.clone()
    changed[0, 4] = (changed[0, 4] + 1) % 97
    moved = (t5(changed, source=given) - before).abs().amax(-1)[0] > 1e-6
    assert moved.tolist() == [False] * 4 + [True] * 5
    for place in (0, 11):
        other = given.inputs.clone()
        other[0, place] = (other[0, place] + 1) % 97
        now = t5(inputs, source=replace(given, inputs=other))
        assert ((now - before).abs().amax(-1)[0] > 1e-7).all()


def test_wanted_positions_are_those_of_the_whole(t5: EncoderDecoder) -> None:
    inputs, given = tokens(2, 9), source()
    wanted = torch.tensor([0, 5, 17])
    whole = t5.hidden(inputs, source=given).reshape(18, -1)
    assert torch.equal(t5.hidden(inputs, source=given, wanted=wanted), whole[wanted])


def test_blocks_computed_again_give_the_same_gradients(t5: EncoderDecoder) -> None:
    def gradients(recompute: bool) -> list[Tensor]:
        t5.recompute = recompute
        t5.zero_grad()
        loss_of(t5, tokens(2, 9), tokens(2, 9, seed=1), source()).backward()
        return [p.grad.clone() for p in t5.parameters() if p.grad is not None]

    for one, other in zip(gradients(False), gradients(True), strict=True):
        assert torch.equal(one, other)


def test_cached_steps_equal_one_pass_with_sources_of_several_lengths(t5: EncoderDecoder) -> None:
    rows = [tokens(1, n, seed=n)[0].tolist() for n in (20, 3, 11)]
    inputs = tokens(3, 14)
    inputs[:, 0] = START
    cache = t5.read(rows, 14)
    with torch.no_grad():
        steps = [t5.logits(t5.hidden(inputs[:, i : i + 1], cache=cache)) for i in range(14)]
        for row, ids in enumerate(rows):
            alone = Source(torch.tensor([ids]), torch.ones(1, len(ids), dtype=torch.int64))
            whole = t5(inputs[row : row + 1], source=alone)[0]
            assert (torch.cat(steps, dim=1)[row] - whole).abs().max() <= 1e-5


@pytest.mark.parametrize("config", [T5, TIED], ids=["untied", "tied"])
def test_greedy_generation_is_theirs(config: T5Config, tmp_path: Path) -> None:
    # Their cache has a place for every layer of the encoder, whatever the decoder has.
    t5 = build(replace(config, decoder_layers=2))
    theirs = in_transformers(t5, tmp_path / "hf")
    rows = [tokens(1, n, seed=n)[0].tolist() for n in (20, 3, 11)]
    found = generate(t5, [[START]] * 3, 12, sources=rows, stop_ids=(END,))
    for row, ids in zip(found, rows, strict=True):
        expected = theirs.generate(
            torch.tensor([ids]), max_new_tokens=12, do_sample=False, eos_token_id=END, num_beams=1,
        )[0, 1:].tolist()  # fmt: skip
        assert row == [token for token in expected if token != END]
    assert len({tuple(row) for row in found}) == 3


def test_generation_ends_at_the_end_symbol_and_rows_do_not_touch_each_other(
    t5: EncoderDecoder,
) -> None:
    rows = [tokens(1, n, seed=n)[0].tolist() for n in (20, 3, 11, 7)]
    free = generate(t5, [[START]] * 4, 12, sources=rows)
    assert [len(row) for row in free] == [12] * 4
    end = free[1][2]
    stopped = generate(t5, [[START]] * 4, 12, sources=rows, stop_ids=(end,))
    for row, whole in zip(stopped, free, strict=True):
        assert row == whole[: whole.index(end) if end in whole else 12]
    drawn = generate(t5, [[START]] * 4, 9, temperature=1.0, top_k=20, seed=3, sources=rows,
                     stop_ids=(end,))  # fmt: skip
    for i, row in enumerate(drawn):
        assert row == generate(t5, [[START]], 9, temperature=1.0, top_k=20, seed=3 + i,
                               sources=[rows[i]], stop_ids=(end,))[0]  # fmt: skip


def test_what_cannot_be_written_is_refused(t5: EncoderDecoder) -> None:
    with pytest.raises(ModelError, match="give it one"):
        t5(tokens(1, 4))
    with pytest.raises(ModelError, match="needs a source"):
        generate(t5, [[START]], 3)
    with pytest.raises(ModelError, match="source 1 is empty"):
        generate(t5, [[START]] * 2, 3, sources=[[4], []])
    with pytest.raises(ModelError, match="2 sources for 1"):
        generate(t5, [[START]], 3, sources=[[4], [5]])
    with pytest.raises(ModelError, match="source 0 contains the id 97"):
        generate(t5, [[START]], 3, sources=[[97]])
    with pytest.raises(ContextLengthError, match="a source of 50 tokens"):
        generate(t5, [[START]], 3, sources=[[4] * 50])
    with pytest.raises(ModelError, match="reads no source"):
        QWEN3.build().hidden(tokens(1, 4), source=source(1))
    with pytest.raises(ModelError, match="reads no source"):
        generate(QWEN3.build(), [[1]], 3, sources=[[4]])


def test_first_predictions_are_near_uniform() -> None:
    for tied in (False, True):
        model = T5Config(vocab_size=500, width=64, layers=2, heads=2, head_width=32, tied_head=tied,
                         hidden_width=128).build(seed=0)  # fmt: skip
        targets = tokens(4, 30, vocab_size=500)
        loss = loss_of(model, targets, targets.roll(1), source(4, 40))  # type: ignore[arg-type]
        assert 6.2 < loss.item() < 7.3  # log(500) is 6.2


def test_config_survives_json_and_bad_shapes_are_refused() -> None:
    assert model_config_from_dict(model_config_to_dict(T5)) == T5
    with pytest.raises(ValueError, match="multiple of 4"):
        replace(T5, buckets=10)
    with pytest.raises(ValueError, match="max_distance=4"):
        replace(T5, max_distance=4)
