"""BERT's names in Hugging Face transformers <-> ours: a rename, and leaving out what we have not.

The pooler and the next-sentence head of a released file belong to another objective; they are left
out. Files from before 2020 call a norm's weight and bias gamma and beta.
"""

from collections.abc import Mapping

from torch import Tensor

from model.bert import BertConfig
from model.bert_classifier import BertClassifierConfig
from model.errors import WeightsError

# ours -> theirs, within `blocks.N.` -> `bert.encoder.layer.N.`; each has a weight and a bias
_BLOCK = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "feed_forward.up": "intermediate.dense",
    "feed_forward.down": "output.dense",
    "feed_forward_norm": "output.LayerNorm",
}
_TOP = {
    "embedding.weight": "bert.embeddings.word_embeddings.weight",
    "position_embedding.weight": "bert.embeddings.position_embeddings.weight",
    "type_embedding.weight": "bert.embeddings.token_type_embeddings.weight",
    "embedding_norm.weight": "bert.embeddings.LayerNorm.weight",
    "embedding_norm.bias": "bert.embeddings.LayerNorm.bias",
    "head_transform.dense.weight": "cls.predictions.transform.dense.weight",
    "head_transform.dense.bias": "cls.predictions.transform.dense.bias",
    "head_transform.norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "head_transform.norm.bias": "cls.predictions.transform.LayerNorm.bias",
    "head_bias": "cls.predictions.bias",
}
# The tied matrix and bias, written a second time by some; a pooler and a head we do not have.
_LEFT_OUT = ("cls.predictions.decoder.", "bert.pooler.", "cls.seq_relationship.")
_POOLER = {
    "head_transform.dense.weight": "bert.pooler.dense.weight",
    "head_transform.dense.bias": "bert.pooler.dense.bias",
}
_CLASSES = {"head.weight": "classifier.weight", "head_bias": "classifier.bias"}


def bert_names(config: BertConfig) -> dict[str, str]:
    """Our parameter names -> theirs, of the masked-LM model or of a classifier."""
    blocks = {
        f"blocks.{layer}.{ours}.{kind}": f"bert.encoder.layer.{layer}.{theirs}.{kind}"
        for layer in range(config.layers)
        for ours, theirs in _BLOCK.items()
        for kind in ("weight", "bias")
    }
    if not isinstance(config, BertClassifierConfig):
        return {**_TOP, **blocks}
    embeddings = {ours: theirs for ours, theirs in _TOP.items() if theirs.startswith("bert.")}
    pooler = _POOLER if config.level == "text" else {}
    return {**embeddings, **blocks, **pooler, **_CLASSES}


def from_bert(config: BertConfig, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """Our named tensors; WeightsError for a file without the masked-LM head, or an untied one.

    A classifier's file has a head of its own in its place.
    """
    modern = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
            "LayerNorm.beta", "LayerNorm.bias"
        ): tensor
        for name, tensor in tensors.items()
    }
    if isinstance(config, BertClassifierConfig):
        ours = {theirs: name for name, theirs in bert_names(config).items()}
        dropped = "bert.pooler." if config.level == "word" else "cls."
        return {
            ours.get(name, name): tensor
            for name, tensor in modern.items()
            if not name.startswith(dropped) and name != "bert.embeddings.position_ids"
        }
    if "cls.predictions.transform.dense.weight" not in modern:
        raise WeightsError(
            f"{where} has no masked-LM head (cls.predictions): it was saved without; export it as "
            "BertForMaskedLM"
        )
    table = modern.get("bert.embeddings.word_embeddings.weight")
    decoder = modern.get("cls.predictions.decoder.weight")
    if decoder is not None and table is not None and not decoder.equal(table):
        raise WeightsError(
            f"{where}: cls.predictions.decoder.weight is not the embedding table; an untied head "
            "is not supported for BERT"
        )
    ours = {theirs: name for name, theirs in bert_names(config).items()}
    return {
        ours.get(name, name): tensor
        for name, tensor in modern.items()
        if not name.startswith(_LEFT_OUT) and name != "bert.embeddings.position_ids"
    }
