from pathlib import Path

import pytest
import torch

from pipeline.serving.chat import answer
from pipeline.serving.hf_tokenizer import HuggingFaceTokenizer
from pipeline.serving.loading import LoadedModel, load_model
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.tokens.tokenizer import Tokenizer
from tests.registry.worlds import World


def test_every_reference_to_one_model_gives_the_same_logits(
    served: World, base_export: Path
) -> None:
    base = served.base()
    references = [
        base.ref,
        f"pretrain@{base.fingerprint[:6]}",
        str(base.path),
        str(base_export),
        str(base_export / "hf"),
        f"export@{base_export.name}",
    ]
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        logits = [load_model(reference, served.root).model(ids) for reference in references]
    assert all(torch.allclose(logits[0], other, atol=1e-6) for other in logits)


def test_checkpoint_and_export_answer_alike(served: World, tuned_export: Path) -> None:
    checkpoint = load_model(served.tuned(served.base()).ref, served.root)
    exported = load_model(str(tuned_export), served.root)
    assert (checkpoint.prompt_form, exported.prompt_form) == ("answer", "answer")
    assert checkpoint.stop_ids == exported.stop_ids
    assert answer(checkpoint, "héllo", max_tokens=12) == answer(exported, "héllo", max_tokens=12)


@pytest.mark.parametrize(
    "text", ["", "plain", "  two\n\nlines ", "héllo 世界 🙂", "a<|eos|>b", "\ud800x"]
)
def test_hugging_face_tokenizer_encodes_as_ours(
    served: World, base_export: Path, text: str
) -> None:
    ours = Tokenizer.load(served.tokenizer().path)
    theirs = HuggingFaceTokenizer.load(base_export / "hf")
    ids = ours.encode(text)
    assert theirs.encode(text) == ids
    assert theirs.decode(ids) == ours.decode(ids)
    assert (theirs.bos, theirs.eos, theirs.pad, theirs.end) == (
        ours.bos,
        ours.eos,
        ours.pad,
        ours.end,
    )


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pretrain@ab", "at least 4 hex digits"),
        ("pretrain@ffffffff", "which holds"),
        ("tokenizer@ffffffff", "not a model"),
        ("nowhere", "names no model"),
        ("models:/x", "models:/NAME@ALIAS"),
    ],
)
def test_reference_that_names_nothing_is_refused_with_what_there_is(
    served: World, reference: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(reference, served.root)


def test_artifact_that_is_no_model_is_refused(served: World) -> None:
    with pytest.raises(ConfigError, match="is not a model"):
        load_model(str(served.tokenizer().path), served.root)


def test_directory_without_safetensors_is_refused(tmp_path: Path, base_export: Path) -> None:
    (tmp_path / "config.json").write_bytes((base_export / "hf" / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(ArtifactError, match="can run code"):
        load_model(str(tmp_path), tmp_path)


def test_description_names_source_and_size(base_model: LoadedModel) -> None:
    assert "parameters" in base_model.description and "export@" in base_model.description
