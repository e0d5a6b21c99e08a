"""Models that others trained, with their own tokenizers: continued, tuned and exported by a run."""

from pathlib import Path

import pytest
import tokenizers

from pipeline.store.manifest import read_manifest
from pipeline.tokens.tokenizer import Tokenizer
from tests.flows.conftest import mill_here, small_settings, write_settings
from tests.tokens.foreign import KINDS, TEXTS, save

DECOMPOSED = "cafe\u0301 \u1100\u1161"
SHAPE = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 256,
}  # fmt: skip


def write_model(family: str, made: tokenizers.Tokenizer, directory: Path) -> None:
    """Random weights beside the tokenizer; Qwen's table has rows that no token uses."""
    import torch
    import transformers

    ids = made.get_vocab_size()
    torch.manual_seed(0)
    if family == "llama3":
        config = transformers.LlamaConfig(vocab_size=ids, tie_word_embeddings=False, **SHAPE)
        model = transformers.LlamaForCausalLM(config)
    else:
        config = transformers.Qwen3Config(vocab_size=ids + 50, head_dim=16, **SHAPE)
        model = transformers.Qwen3ForCausalLM(config)
    model.save_pretrained(directory)


@pytest.mark.slow
@pytest.mark.parametrize(("family", "rows"), [("llama3", 5), ("qwen", 50)])
def test_a_foreign_model_is_continued_tuned_and_exported(
    family: str, rows: int, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    make, names = KINDS[family]
    original = make()
    source = save(original, tmp_path / "model", **names)
    write_model(family, original, source)
    settings = small_settings(tmp_path / "root")
    settings["tokenizer"] = {"kind": "huggingface", "path": str(source)}
    settings["pretrain"]["model"] = None
    settings["pretrain"]["start"] = {"kind": "huggingface", "path": str(source)}
    config = write_settings(tmp_path / "run.yaml", settings)
    assert "pretrain" in mill_here("plan", str(config)).stdout
    mill_here("run", str(config), "--no-prefect")
    (artifact,) = (tmp_path / "root" / "tokenizer").iterdir()
    ours = Tokenizer.load(artifact)
    exports = [path.parent for path in (tmp_path / "root").glob("export/*/**/model.safetensors")]
    assert len(exports) == 2  # the continued model and the tuned one
    for directory in exports:
        theirs = transformers.AutoTokenizer.from_pretrained(directory)
        model = transformers.AutoModelForCausalLM.from_pretrained(directory)
        assert model.config.vocab_size == original.get_vocab_size() + rows
        assert model.config.eos_token_id == theirs.eos_token_id == ours.eos
        for text in (*TEXTS, DECOMPOSED):
            ids = original.encode(text, add_special_tokens=False).ids
            assert theirs.encode(text, add_special_tokens=False) == ids == ours.encode(text)
    again = mill_here("run", str(config), "--no-prefect").stdout
    assert "= tokenizer" in again and "= finetune" in again
    assert read_manifest(artifact).facts["vocab_size"] == ours.vocab_size
    shown = mill_here("tokenizer", "inspect", str(artifact), DECOMPOSED).stdout
    assert f"{len(ours.encode(DECOMPOSED))} tokens" in shown
