"""The nouns that pass between stages: small frozen handles, a path plus typed facts, never data.

    freeze_eval_set -> EvalSet             prepare_examples  -> ExampleSet
    clean_corpus    -> CleanedCorpus       pretrain, finetune -> Checkpoint
    train_tokenizer -> TrainedTokenizer    measure_baselines -> BaselineReport
    tokenize_corpus -> TokenShards         evaluate -> EvalReport    export_model -> ExportedModel
    blend_shards    -> TokenShards         prepare_labels -> LabelSet

Stages meet only here. A handle can be made for any finished directory with `Kind.open(path)`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from pipeline.store.errors import ArtifactError
from pipeline.store.files import NAME_PATTERN
from pipeline.store.fingerprint import MLFLOW_DIGITS, short
from pipeline.store.manifest import Manifest, is_finished, read_manifest


@dataclass(frozen=True)
class Artifact:
    """A finished directory with a manifest."""

    path: Path
    fingerprint: str

    stages: ClassVar[tuple[str, ...]] = ()
    """Which stages make this kind."""

    @classmethod
    def open(cls, path: Path) -> Self:
        """The handle of the finished artifact at `path`; ArtifactError if it is another kind."""
        manifest = read_manifest(path)
        if manifest.stage not in cls.stages:
            raise ArtifactError(
                f"{path} holds {manifest.ref}; expected an artifact of {' or '.join(cls.stages)}"
            )
        return cls(path, manifest.fingerprint)

    @cached_property
    def manifest(self) -> Manifest:
        """The manifest, read once."""
        return read_manifest(self.path)

    @property
    def facts(self) -> dict[str, Any]:
        """The counts and figures of the manifest."""
        return dict(self.manifest.facts)

    @property
    def stage(self) -> str:
        """The stage that made it."""
        return self.manifest.stage

    @property
    def key(self) -> str:
        """`stage@<64 digits>`: how it enters another artifact's fingerprint."""
        return f"{self.manifest.stage}@{self.fingerprint}"

    @property
    def ref(self) -> str:
        """`stage@<12 digits>`: how people read it."""
        return f"{self.manifest.stage}@{short(self.fingerprint)}"

    @property
    def mlflow_digest(self) -> str:
        """The first 32 digits; MLflow takes at most 36."""
        return self.fingerprint[:MLFLOW_DIGITS]

    @property
    def root(self) -> Path:
        """The root of the tree: artifacts live at `root/<kind>/<name>`."""
        return self.path.parent.parent

    def part_paths(self) -> list[Path]:
        """The directories of the parts, in order."""
        return [self.root / part for part in self.manifest.parts]


@dataclass(frozen=True)
class EvalSet(Artifact):
    """Held-out documents, frozen by name: `documents.arrow` with `doc_id, text, source`."""

    stages: ClassVar[tuple[str, ...]] = ("eval_set",)

    @property
    def name(self) -> str:
        """The name it is frozen under."""
        return self.path.name

    @property
    def documents_path(self) -> Path:
        """Arrow IPC file with the columns `doc_id, text, source`."""
        return self.path / "documents.arrow"


@dataclass(frozen=True)
class CleanedCorpus(Artifact):
    """Kept documents: parts in order, each minus the rows the deduplication removed."""

    stages: ClassVar[tuple[str, ...]] = ("clean",)


@dataclass(frozen=True)
class TrainedTokenizer(Artifact):
    """A byte-level BPE: `tokenizer.tiktoken`, `tokenizer.json` (description), `hf/`."""

    stages: ClassVar[tuple[str, ...]] = ("tokenizer",)

    @property
    def vocab_size(self) -> int:
        """Number of ids, special tokens included."""
        return int(self.facts["vocab_size"])


@dataclass(frozen=True)
class TokenShards(Artifact):
    """Arrow IPC shards of `tokens: list<uint16|uint32>`, cut within parts."""

    stages: ClassVar[tuple[str, ...]] = ("tokenize", "blend")

    @property
    def num_tokens(self) -> int:
        """Training tokens, special tokens included."""
        return int(self.facts["train_tokens"])


@dataclass(frozen=True)
class ExampleSet(Artifact):
    """Prompt/answer pairs split by group: `train.jsonl`, `validation.jsonl`, `held_out.jsonl`."""

    stages: ClassVar[tuple[str, ...]] = ("examples",)


@dataclass(frozen=True)
class LabelSet(Artifact):
    """Labelled texts or words: `train.jsonl`, `validation.jsonl`, `held_out.jsonl`."""

    stages: ClassVar[tuple[str, ...]] = ("labels",)

    @property
    def name(self) -> str:
        """The name of the task."""
        return str(self.facts["name"])

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return tuple(self.facts["labels"])


AnyEvalSet = EvalSet | LabelSet
"""What a model is judged on."""


@dataclass(frozen=True)
class Checkpoint(Artifact):
    """The outcome of training: `final/` (weights, configuration), curves and samples."""

    stages: ClassVar[tuple[str, ...]] = ("pretrain", "finetune", "classify")

    @property
    def weights_path(self) -> Path:
        """safetensors in our own names, fp32."""
        return self.path / "final" / "model.safetensors"

    @property
    def model_config_path(self) -> Path:
        """The architecture as JSON, with its `kind`."""
        return self.path / "final" / "model.json"


@dataclass(frozen=True)
class BaselineReport(Artifact):
    """Compressors and n-gram models on the eval set: `baselines.json`."""

    stages: ClassVar[tuple[str, ...]] = ("baselines",)


@dataclass(frozen=True)
class EvalReport(Artifact):
    """What a checkpoint scores: `report.json`, per-document figures in `documents.arrow`."""

    stages: ClassVar[tuple[str, ...]] = ("evaluate",)


@dataclass(frozen=True)
class ExportedModel(Artifact):
    """A Hugging Face directory in `hf/`, loadable without our code, with a model card."""

    stages: ClassVar[tuple[str, ...]] = ("export",)

    @property
    def hf_path(self) -> Path:
        """What `from_pretrained` takes."""
        return self.path / "hf"


ANY_ARTIFACT: tuple[type[Artifact], ...] = (
    EvalSet, CleanedCorpus, TrainedTokenizer, TokenShards, ExampleSet, LabelSet,
    Checkpoint, BaselineReport, EvalReport, ExportedModel,
)  # fmt: skip


def open_artifact(path: Path) -> Artifact:
    """The handle of whatever finished artifact lies at `path`."""
    manifest = read_manifest(path)
    for kind in ANY_ARTIFACT:
        if manifest.stage in kind.stages:
            return kind(path, manifest.fingerprint)
    raise ArtifactError(f"{path} holds {manifest.ref}, a kind this version does not know")


DIRECTORIES = {
    "eval_set": "eval-sets", "clean": "clean", "tokenizer": "tokenizer", "tokenize": "tokens",
    "blend": "blend", "examples": "examples", "labels": "labels", "pretrain": "pretrain",
    "finetune": "finetune", "classify": "classify", "baselines": "baselines", "evaluate": "eval",
    "export": "export",
}  # fmt: skip
"""Stage name -> directory under the root."""


def seek_artifact(root: Path, reference: str) -> Artifact | None:
    """The finished artifact of `stage@fingerprint` (12 digits or more), None if it is not there."""
    stage, _, fingerprint = reference.rpartition("@")
    if not NAME_PATTERN.fullmatch(stage) or not NAME_PATTERN.fullmatch(fingerprint):
        return None  # a name from outside leads nowhere else
    home = root / DIRECTORIES.get(stage, stage)
    candidates = home.glob("*") if stage == "eval_set" else [home / short(fingerprint)]
    for path in candidates:
        try:
            artifact = open_artifact(path)
        except (ArtifactError, NotADirectoryError):
            continue
        if artifact.stage == stage and artifact.fingerprint.startswith(fingerprint):
            return artifact
    return None


def finished_artifacts(root: Path) -> list[Artifact]:
    """Every finished artifact under `root` (parts apart), in the order of the graph."""
    found = []
    for directory in DIRECTORIES.values():
        for path in sorted((root / directory).glob("*")):
            if is_finished(path):
                found.append(open_artifact(path))
    return found


def find_artifact(root: Path, reference: str) -> Artifact:
    """The artifact meant by a directory or by `stage@digits` (any unambiguous number of digits).

    ArtifactError names what there is when nothing or more than one fits.
    """
    path = Path(reference)
    if "@" not in reference:
        return open_artifact(path)
    stage, _, digits = reference.partition("@")
    if stage not in DIRECTORIES:
        raise ArtifactError(
            f"{reference!r} names no stage; write stage@digits with one of {', '.join(DIRECTORIES)}"
        )
    candidates = [a for a in finished_artifacts(root) if a.stage == stage]
    matches = [a for a in candidates if digits and a.fingerprint.startswith(digits)]
    if len(matches) == 1:
        return matches[0]
    there = ", ".join(a.ref for a in candidates) or "none"
    word = "more than one artifact fits" if matches else "no artifact is"
    raise ArtifactError(f"{word} {reference} under {root}; of this stage there are: {there}")


def parents_of(artifact: Artifact) -> list[Artifact]:
    """The artifacts it was made from that are still under its root; parts are left out."""
    found = (seek_artifact(artifact.root, reference) for reference in artifact.manifest.inputs)
    return [parent for parent in found if parent is not None]
