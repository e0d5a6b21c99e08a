"""Which models learned from a corpus, and by which way its text reached them.

corpus -> shards -> model          trained on its tokens
corpus -> examples -> tuned        tuned on questions made from it
corpus -> tokenizer -> model       its vocabulary was counted in it
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.artifacts import Artifact, CleanedCorpus, finished_artifacts
from pipeline.store.fingerprint import short
from pipeline.tracking.config import default_uri
from pipeline.tracking.ledger import Ledger

WAYS = {
    "tokens": "trained on its tokens", "examples": "tuned on questions made from it",
    "labels": "taught to classify by labels made from it", "vocabulary": "vocabulary counted in it",
}  # fmt: skip
MODELS = ("pretrain", "finetune", "classify", "export")


@dataclass(frozen=True)
class Learner:
    """One model that descends from a corpus."""

    reference: str
    ways: tuple[str, ...]
    """Of WAYS."""
    registered: tuple[str, ...] = ()
    """`NAME @champion`, for exports that were registered."""

    def __str__(self) -> str:
        how = ", ".join(WAYS[way] for way in self.ways)
        return " ".join([f"{self.reference} ({how})", *(f"= {name}" for name in self.registered)])


def learners_of(root: Path, corpus: CleanedCorpus) -> list[Learner]:
    """Every model under the root that learned from the corpus, in the order of the graph.

    An artifact whose inputs were removed is not found: what is gone cannot be asked.
    """
    artifacts = {artifact.ref: artifact for artifact in finished_artifacts(root)}
    reached: dict[str, frozenset[str]] = {}
    for artifact in artifacts.values():
        _ways(artifact, corpus.ref, artifacts, reached)
    names = _registered(root)
    return [
        Learner(ref, tuple(way for way in WAYS if way in ways), names.get(ref, ()))
        for ref, ways in reached.items()
        if ways and artifacts[ref].stage in MODELS
    ]


def _ways(
    artifact: Artifact,
    corpus: str,
    artifacts: dict[str, Artifact],
    reached: dict[str, frozenset[str]],
) -> frozenset[str]:
    """By which ways text of the corpus reached an artifact; remembered for all on the way."""
    if artifact.ref in reached:
        return reached[artifact.ref]
    found: set[str] = set()
    for reference in artifact.manifest.inputs:
        if reference == corpus:
            found |= _first_step(artifact.stage)
        parent = artifacts.get(reference)
        if parent is None or parent.stage in ("eval_set", "clean", "evaluate", "baselines"):
            continue
        before = _ways(parent, corpus, artifacts, reached)
        if parent.stage == "tokenizer":
            found |= {"vocabulary"} if before else set()
        elif parent.stage == "examples":
            found |= {"examples"} if before and artifact.stage == "finetune" else set()
        elif parent.stage == "labels":
            found |= {"labels"} if before and artifact.stage == "classify" else set()
        else:
            found |= before
    reached[artifact.ref] = frozenset(found)
    return reached[artifact.ref]


def _first_step(stage: str) -> set[str]:
    return {"tokenizer": {"vocabulary"}, "examples": {"examples"}, "labels": {"labels"}}.get(
        stage, {"tokens"}
    )


def _registered(root: Path) -> dict[str, tuple[str, ...]]:
    """`export@digits` -> the names and aliases it has in the root's own ledger."""
    ledger = Ledger(root, default_uri(root))
    names: dict[str, list[str]] = {}
    for state in (ledger.state(), *(Ledger(root, uri).state() for uri in ledger.stores())):
        for entry in state.versions:
            aliases = [
                f"@{alias}"
                for (name, alias), fingerprint in state.aliases.items()
                if (name, fingerprint) == (entry.name, entry.fingerprint)
            ]
            told = " ".join([entry.name, *sorted(aliases)])
            known = names.setdefault(f"export@{short(entry.fingerprint)}", [])
            if told not in known:
                known.append(told)
    return {reference: tuple(found) for reference, found in names.items()}
