import math
from html.parser import HTMLParser

import pytest
import torch
from rich.console import Console

from model.architectures import GPT2Config, LlamaConfig, Qwen3Config
from model.attention import packed_causal_mask
from model.loss import nll_sum
from pipeline.reports.trace import trace
from pipeline.reports.trace_html import render_trace_html, write_trace
from pipeline.reports.trace_terminal import print_trace
from pipeline.store.errors import ConfigError
from tests.reports.world import byte_tokenizer

TOKENIZER = byte_tokenizer()
SIZES = {
    "vocab_size": TOKENIZER.vocab_size, "context_length": 48, "width": 32, "layers": 2, "heads": 2,
}  # fmt: skip
GROUPED = {**SIZES, "kv_heads": 1, "head_width": 16, "hidden_width": 64}
MODELS = {
    "gpt2": GPT2Config(**SIZES), "llama": LlamaConfig(**GROUPED), "qwen3": Qwen3Config(**GROUPED)
}  # fmt: skip


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    torch.set_num_threads(1)
    return MODELS[request.param].build(seed=3)


def model_loss(model, found):
    """The loss as training computes it, from the trace's own columns."""
    inputs = torch.tensor([[row.input_id for row in found.positions]])
    targets = torch.tensor([[row.target_id for row in found.positions]])
    mask = torch.tensor([[float(row.mask) for row in found.positions]])
    segments = torch.tensor([found.valid]).long()
    with torch.no_grad():
        total, count = nll_sum(
            model.hidden(inputs, segment_ids=segments), model.head_weight, targets, mask
        )
    return float(total / count)


def test_the_traced_loss_is_the_models_own(model):
    for answer in (None, "in the list"):
        found = trace(model, TOKENIZER, "return the 值", answer)
        assert found.loss == pytest.approx(model_loss(model, found), abs=1e-5)
        assert found.perplexity == pytest.approx(math.exp(found.loss))
        shown = sum(row.nats * row.mask for row in found.positions) / sum(
            r.mask for r in found.positions
        )
        assert shown == pytest.approx(found.loss)


def test_with_an_answer_exactly_the_answer_and_eos_are_scored(model):
    found = trace(model, TOKENIZER, "abc", "xy")
    assert [row.mask for row in found.positions] == [0, 0, 0, 1, 1, 1, 0, 0, 0]
    scored = [row.target_id for row in found.positions if row.mask]
    assert scored == [*TOKENIZER.encode("xy"), TOKENIZER.eos]
    assert found.positions[3].input_id == TOKENIZER.bos


def test_without_an_answer_every_real_prediction_is_scored(model):
    found = trace(model, TOKENIZER, "abc")
    assert found.ids == (TOKENIZER.bos, *TOKENIZER.encode("abc"), TOKENIZER.eos)
    assert [row.mask for row in found.positions] == [1] * 4 + [0] * 3


def test_padding_changes_no_loss(model):
    losses = {trace(model, TOKENIZER, "return", "the", padding=n).loss for n in (0, 1, 7)}
    assert max(losses) - min(losses) < 1e-5


def test_targets_are_inputs_moved_by_one(model):
    found = trace(model, TOKENIZER, "of the", "list")
    real = found.positions[: len(found.ids) - 1]
    assert [row.target_id for row in real[:-1]] == [row.input_id for row in real[1:]]


def test_shapes_run_from_ids_to_logits(model):
    found = trace(model, TOKENIZER, "abcdef", padding=2)
    length = len(found.positions)
    shapes = {shape.name: shape.shape for shape in found.shapes}
    assert list(shapes) == ["inputs", "embedding", "block 1", "block 2", "hidden", "logits"]
    assert shapes["inputs"] == (1, length)
    assert shapes["hidden"] == (1, length, 32)
    assert shapes["logits"] == (1, length, TOKENIZER.vocab_size)


def test_probabilities_are_sorted_and_agree_with_the_loss(model):
    for row in trace(model, TOKENIZER, "return").positions:
        chances = [guess.probability for guess in row.top]
        assert chances == sorted(chances, reverse=True) and sum(chances) <= 1 + 1e-9
        assert row.probability == pytest.approx(math.exp(-row.nats))


def test_the_mask_picture_is_the_one_the_model_uses(model):
    found = trace(model, TOKENIZER, "return the")
    used = packed_causal_mask(torch.tensor([found.valid]).long())[0, 0] == 0
    real = sum(found.valid)
    assert torch.equal(torch.tensor(found.may_attend)[:real], used[:real])
    assert not any(row[real] for row in found.may_attend)  # nobody reads padding


def test_the_tokens_are_the_text(model):
    found = trace(model, TOKENIZER, "a 值")
    assert "".join(found.tokens) == r"<|bos|>a␣\xe5\x80\xbc<|eos|>"
    assert trace(model, TOKENIZER, "<|eos|>").ids.count(TOKENIZER.eos) == 1


def test_a_text_longer_than_the_context_is_refused(model):
    with pytest.raises(ConfigError, match=r"52 tokens.*at most 49"):
        trace(model, TOKENIZER, "x" * 50)


def test_a_text_that_fills_the_context_has_no_padding(model):
    found = trace(model, TOKENIZER, "x" * 47)
    assert found.padding == 0 and len(found.positions) == 48


def test_an_empty_text_predicts_its_end(model):
    assert trace(model, TOKENIZER, "").scored == 1


def test_a_model_of_another_vocabulary_is_refused():
    small = GPT2Config(**{**SIZES, "vocab_size": 200}).build()
    with pytest.raises(ConfigError, match="vocab|ids below 200"):
        trace(small, TOKENIZER, "abc")


def test_tracing_leaves_the_model_as_it_was(model):
    model.train()
    hooks = [len(module._forward_hooks) for module in model.modules()]
    trace(model, TOKENIZER, "abc")
    assert model.training
    assert hooks == [len(module._forward_hooks) for module in model.modules()]


def test_the_page_and_the_terminal_show_text_as_text(model, tmp_path):
    found = trace(model, TOKENIZER, "<script>x</script> 值", "</p>")
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)
    parser.feed(render_trace_html(found))
    assert "svg" in tags and not {"script", "link", "img"} & set(tags)
    write_trace(found, tmp_path / "trace.html")
    assert f"{found.loss:.4f}" in (tmp_path / "trace.html").read_text("utf-8")
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    print_trace(found, console)
    text = console.export_text()
    assert (
        f"{found.loss:.4f}" in text
        and f"(1, {len(found.positions)}, {TOKENIZER.vocab_size})" in text
    )
