"""`mill export gguf`: an exported model as one file for llama.cpp."""

from pathlib import Path

from flows.commands.store import existing_root
from pipeline.artifacts import ExportedModel
from pipeline.serving.gguf_export import Precision, export_gguf
from pipeline.serving.loading import artifact_named
from pipeline.store.errors import ConfigError
from pipeline.tracking.config import tracking_at


def write_gguf(
    reference: str, target: Path, *, precision: Precision, root: Path, uri: str | None = None
) -> None:
    """Write `target`; ConfigError for a reference without a Hugging Face directory."""
    if target.is_dir():
        raise ConfigError(f"{target} is a directory; name a file in it, such as model.gguf")
    count = export_gguf(_directory(reference, root, uri), target, precision=precision)
    size = target.stat().st_size / 1e6
    print(f"{target}: {count} tensors, {size:,.1f} MB\nllama-server -m {target} -c 0")


def _directory(reference: str, root: Path, uri: str | None) -> Path:
    if reference.startswith("models:/"):
        from pipeline.tracking.referring import model_directory  # mlflow: a second

        tracking = tracking_at(uri)
        return model_directory(reference, root=existing_root(root), tracking=tracking)[0]
    artifact = artifact_named(reference, root)
    if isinstance(artifact, ExportedModel):
        return artifact.hf_path
    directory = Path(reference)
    if artifact is None and (directory / "config.json").is_file():
        return directory
    raise ConfigError(
        f"{reference!r} has no Hugging Face directory; name export@..., models:/NAME@champion or "
        "such a directory"
    )
