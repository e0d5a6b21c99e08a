"""Earlier corpora whose documents are not wanted again: their signatures are read as they lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.artifacts import CleanedCorpus, find_artifact
from pipeline.corpus.cleaned import read_removed
from pipeline.corpus.dedup.segments import EARLIER, Segment
from pipeline.corpus.dedup.settings import DedupConfig, SignatureConfig
from pipeline.corpus.dedup.signatures import SIGNATURES
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.fingerprint import plain
from pipeline.store.manifest import read_manifest

_COMPARED = ("shingle_words", "shingle_chars", "bits", "size", "seed")


def earlier_corpora(config: DedupConfig, root: Path) -> tuple[CleanedCorpus, ...]:
    """The corpora `clean.dedup.against` names, in its order, each once; ConfigError for others."""
    found: dict[str, CleanedCorpus] = {}
    for reference in config.against:
        try:
            artifact = find_artifact(root, reference)
        except (ArtifactError, NotADirectoryError) as error:
            raise ConfigError(f"clean.dedup.against: {error}") from error
        if not isinstance(artifact, CleanedCorpus):
            raise ConfigError(
                f"clean.dedup.against: {reference} is {artifact.ref}, expected a cleaned corpus"
            )
        found.setdefault(artifact.key, artifact)
    return tuple(found.values())


def raw_parts_of(corpora: Sequence[CleanedCorpus]) -> frozenset[str]:
    """Names of the raw parts (12 digits) that the corpora were made from."""
    return frozenset(Path(part).name for corpus in corpora for part in corpus.facts["raw_parts"])


def earlier_segments(
    corpora: Sequence[CleanedCorpus], parts: Sequence[Path], wanted: SignatureConfig
) -> list[Segment]:
    """The parts of earlier corpora; `parts` are those of this one.

    ConfigError when signatures cannot be compared or when a part belongs to both.
    """
    current = {read_manifest(part).fingerprint for part in parts} if corpora else set()
    segments = []
    for corpus in corpora:
        for index, part in enumerate(corpus.part_paths()):
            manifest = read_manifest(part)
            if manifest.fingerprint in current:
                raise ConfigError(
                    f"clean.dedup.against: {corpus.ref} and this run share the part {part.name}, "
                    "so all of its documents would be dropped as known; take its file out of "
                    "clean.sources or the corpus out of against, or set known_parts: skip"
                )
            _check(manifest.config.get("signatures"), wanted, corpus.ref)
            dropped = read_removed(corpus.path, index).column("row").to_numpy()
            segments.append(Segment(EARLIER, corpus.ref, path=part / SIGNATURES, dropped=dropped))
    return segments


def _check(signatures: Any, wanted: SignatureConfig, reference: str) -> None:
    """Signatures compare only when they were made alike."""
    mine = plain(wanted)
    theirs = signatures if isinstance(signatures, dict) else {}
    names = [*_COMPARED, *(["urls"] if wanted.urls else []), *(["lines"] if wanted.lines else [])]
    different = [name for name in names if theirs.get(name) != mine[name]]
    if different:
        name = different[0]
        raise ConfigError(
            f"clean.dedup.against: {reference} was cleaned with {name}={theirs.get(name)!r}, this "
            f"run has {mine[name]!r}; set both alike (clean.dedup, clean.seed) or clean it again"
        )
