"""Model directories that somebody hostile wrote: nothing runs, nothing explodes, all is named."""

import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from model.checkpoint_io import load_model
from model.errors import WeightsError
from model.huggingface import import_weights

LLAMA = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": 64,
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True, "hidden_act": "silu",
}  # fmt: skip


class Payload:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.proof}",)


def torch_file(proof: Path) -> bytes:
    """What `torch.save` would write: a zip with a pickle in it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(Payload(proof)))
        archive.writestr("../../slipped", "x")
    return data.getvalue()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A Hugging Face directory that has everything but weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA))
    return folder


@pytest.mark.parametrize(
    "name",
    ["pytorch_model.bin", "model.pt", "model.pth", "last.ckpt", "weights.pkl", "model.safetensors"],
)
def test_pickle_is_not_opened_whatever_its_name(directory: Path, tmp_path: Path, name: str) -> None:
    proof = tmp_path / "proof"
    for data in (pickle.dumps(Payload(proof)), torch_file(proof)):
        (directory / name).write_bytes(data)
        with pytest.raises(WeightsError):
            import_weights(directory)
    assert not proof.exists() and not (tmp_path / "slipped").exists()
    pickle.loads(pickle.dumps(Payload(proof)))  # noqa: S301 - our own, to prove that it works
    assert proof.exists()  # the payload works where somebody does unpickle it


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 90_000_000) + b'{"a":{',
        struct.pack("<Q", 2) + b"{}",
        b"",
        struct.pack("<Q", 60) + b'{"w":{"dtype":"F32","shape":[4611686018427387904],"data_offs'
        b'ets":[0,8]}}',
        struct.pack("<Q", 62) + b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,800000000]}}',
    ],
    ids=["header-of-exabytes", "header-beyond-the-file", "no-tensor", "empty", "shape", "offsets"],
)
def test_hostile_safetensors_take_no_memory(directory: Path, data: bytes) -> None:
    (directory / "model.safetensors").write_bytes(data)
    before = psutil.Process().memory_info().rss
    with pytest.raises(WeightsError):
        import_weights(directory)
    assert psutil.Process().memory_info().rss - before < 50e6


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_size": 1 << 20, "intermediate_size": 1 << 22},
        {"num_hidden_layers": 10**9},
        {"vocab_size": 1 << 50},
        {"max_position_embeddings": 1 << 40},
        {"hidden_size": 1 << 40, "num_attention_heads": 1, "num_key_value_heads": 1},
    ],
    ids=["wide", "deep", "vocabulary", "positions", "beyond-counting"],
)
def test_description_larger_than_its_weights_is_refused_before_memory_is_taken(
    directory: Path, change: dict[str, int]
) -> None:
    save_file({"model.embed_tokens.weight": torch.zeros(64, 16)}, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps(LLAMA | change))
    before = psutil.Process().memory_info().rss
    with pytest.raises(WeightsError):
        import_weights(directory)
    assert psutil.Process().memory_info().rss - before < 100e6


def test_our_own_description_is_held_to_its_weights_too(tmp_path: Path) -> None:
    described = {"kind": "gpt2", "layers": 10**8, "width": 1 << 16, "heads": 1}
    (tmp_path / "model.json").write_text(json.dumps(described))
    save_file({"w": torch.zeros(4)}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match="not of one model"):
        load_model(tmp_path)


@pytest.mark.parametrize(
    "shard", ["../../secret.safetensors", "/etc/passwd", "x.bin", "a/b.safetensors"]
)
def test_index_of_shards_leads_nowhere_else(directory: Path, shard: str) -> None:
    index = {"weight_map": {"model.embed_tokens.weight": shard}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="names the shard"):
        import_weights(directory)


def test_code_in_a_model_directory_is_never_imported(directory: Path, tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    (directory / "modeling_evil.py").write_text(f"open({str(proof)!r}, 'w')")
    config = LLAMA | {"auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}
    (directory / "config.json").write_text(json.dumps(config))
    save_file({"model.embed_tokens.weight": torch.zeros(64, 16)}, directory / "model.safetensors")
    with pytest.raises(WeightsError):
        import_weights(directory)
    assert not proof.exists()
