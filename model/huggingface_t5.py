"""T5's names in Hugging Face transformers <-> ours: a rename.

transformers 5 writes `tie_word_embeddings: true` for every T5 and says by `scale_decoder_outputs`
whether the head is the embedding table; both are written here, and the latter is believed first.
"""

from collections.abc import Mapping

from torch import Tensor

from model.errors import WeightsError
from model.t5 import T5Config

# ours -> theirs, within one attention
_MAPS = {"query": "q", "key": "k", "value": "v", "output": "o"}
_GATES = {"gate": "wi_0", "up": "wi_1", "down": "wo"}
_BIAS = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
# Copies of the shared table, and a table of distances that the first releases had for nothing.
_LEFT_OUT = (
    "encoder.embed_tokens.weight",
    "decoder.embed_tokens.weight",
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight",
)


def t5_names(config: T5Config) -> dict[str, str]:
    """Our parameter names -> theirs."""
    names = {
        "embedding.weight": "shared.weight",
        "encoder.norm.weight": "encoder.final_layer_norm.weight",
        "encoder.position_bias.weight": f"encoder.{_BIAS}",
        "norm.weight": "decoder.final_layer_norm.weight",
        "position_bias.weight": f"decoder.{_BIAS}",
    }
    if not config.tied_head:
        names["head.weight"] = "lm_head.weight"
    for layer in range(config.layers):
        ours, theirs = f"encoder.blocks.{layer}", f"encoder.block.{layer}.layer"
        names |= _sublayer(f"{ours}.attention", f"{theirs}.0", "SelfAttention", _MAPS)
        names |= _sublayer(f"{ours}.feed_forward", f"{theirs}.1", "DenseReluDense", _GATES)
    for layer in range(config.num_decoder_layers):
        ours, theirs = f"blocks.{layer}", f"decoder.block.{layer}.layer"
        names |= _sublayer(f"{ours}.attention", f"{theirs}.0", "SelfAttention", _MAPS)
        names |= _sublayer(f"{ours}.cross_attention", f"{theirs}.1", "EncDecAttention", _MAPS)
        names |= _sublayer(f"{ours}.feed_forward", f"{theirs}.2", "DenseReluDense", _GATES)
    return names


def from_t5(config: T5Config, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Our named tensors; WeightsError where copies of the table differ or the head is missing."""
    table = tensors.get("shared.weight")
    for name in (*_LEFT_OUT[:2], *(["lm_head.weight"] if config.tied_head else [])):
        copy = tensors.get(name)
        if copy is not None and table is not None and not copy.equal(table):
            raise WeightsError(
                f"{where}: {name} is not shared.weight, though its config.json says they are one"
            )
    if not config.tied_head and "lm_head.weight" not in tensors:
        raise WeightsError(
            f"{where} has no lm_head.weight, though its config.json says the head is not the "
            "embedding table (tie_word_embeddings or scale_decoder_outputs is false): a tied head "
            "without scaling is not supported; save the model with a head of its own"
        )
    ours = {theirs: name for name, theirs in t5_names(config).items()}
    left_out = (*_LEFT_OUT, "lm_head.weight") if config.tied_head else _LEFT_OUT
    return {ours.get(name, name): t for name, t in tensors.items() if name not in left_out}


def _sublayer(ours: str, theirs: str, module: str, maps: Mapping[str, str]) -> dict[str, str]:
    """One part of a block and its norm."""
    names = {f"{ours}.{o}.weight": f"{theirs}.{module}.{t}.weight" for o, t in maps.items()}
    return {f"{ours}_norm.weight": f"{theirs}.layer_norm.weight", **names}
