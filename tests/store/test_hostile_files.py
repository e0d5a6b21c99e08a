"""Files that somebody hostile wrote: manifests that lead elsewhere, JSON and YAML that explode."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.artifacts import find_artifact, open_artifact, seek_artifact
from pipeline.store.building import Outcome, artifact_key, build
from pipeline.store.errors import ArtifactError, ConfigError
from pipeline.store.files import read_json, sha256_file
from pipeline.store.manifest import verify
from pipeline.store.runtime import Runtime
from pipeline.store.settings_file import parse_yaml


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A finished artifact under `tmp_path/root`, and a secret beside that root."""
    (tmp_path / "secret.txt").write_text("canary")
    root = tmp_path / "root"
    key = artifact_key("clean", 1, {}, ())

    def work(directory: Path) -> Outcome:
        (directory / "text.arrow").write_bytes(b"text")
        return Outcome({"documents": 1})

    return build(key, root / "clean" / key.fingerprint[:12], work, root=root, runtime=Runtime())


def rewritten(artifact: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The artifact with its manifest changed by an adversary."""
    path = artifact / "manifest.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return artifact


def outside(artifact: Path) -> dict[str, Any]:
    """The true size and hash of the secret, so that only its place can be objected to."""
    secret = artifact.parents[2] / "secret.txt"
    return {"bytes": secret.stat().st_size, "sha256": sha256_file(secret)}


@pytest.mark.parametrize(
    "change",
    [
        lambda d, out: d["files"].update({"../../../secret.txt": out}),
        lambda d, out: d["files"].update({"/etc/passwd": out}),
        lambda d, out: d["files"].update({"a/../../x": out}),
        lambda d, out: d["files"].update({"a\0b": out}),
        lambda d, out: d["files"].update({"": out}),
        lambda d, out: d.update(parts=["../elsewhere"]),
        lambda d, out: d.update(parts=["/tmp"]),
        lambda d, out: d.update(parts=[7]),
        lambda d, out: d.update(inputs=["../../x@0123456789ab"]),
        lambda d, out: d.update(stage="../clean"),
        lambda d, out: d.update(fingerprint="../../../x"),
        lambda d, out: d.update(fingerprint=None),
        lambda d, out: d.update(files=[1]),
        lambda d, out: d.update(files={"x": 3}),
    ],
)
def test_manifest_that_leads_elsewhere_is_refused(artifact: Path, change: Any) -> None:
    out = outside(artifact)
    rewritten(artifact, lambda document: change(document, out))
    for use in (open_artifact, verify):
        with pytest.raises(ArtifactError, match=r"manifest\.json"):
            use(artifact)  # type: ignore[operator]


def test_link_that_leaves_the_artifact_is_refused(artifact: Path) -> None:
    out = outside(artifact)
    (artifact / "more.txt").symlink_to(artifact.parents[2] / "secret.txt")
    rewritten(artifact, lambda document: document["files"].update({"more.txt": out}))
    with pytest.raises(ArtifactError, match="is a link to"):
        verify(artifact)


def test_root_that_is_itself_a_link_is_no_way_out(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert verify(tmp_path / "link" / "clean" / artifact.name).stage == "clean"


def test_artifact_that_is_its_own_part_ends(artifact: Path) -> None:
    root = artifact.parents[1]
    rewritten(artifact, lambda document: document.update(parts=[f"clean/{artifact.name}"]))
    with pytest.raises(ArtifactError, match="part of itself"):
        verify(artifact, parts_root=root)


@pytest.mark.parametrize(
    "reference", ["../../x@0123", "clean@../../secret.txt", "clean@", "@", "clean@*", "/etc@passwd"]
)
def test_reference_that_leads_elsewhere_names_nothing(artifact: Path, reference: str) -> None:
    root = artifact.parents[1]
    assert seek_artifact(root, reference) is None
    with pytest.raises(ArtifactError):
        find_artifact(root, reference)


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b"[" + b"9" * 10_000 + b"]",
        b"\xff\xfe",
        b"",
        b"cos\nsystem\n(S'true'\ntR.",
    ],
    ids=["deep-list", "deep-object", "long-number", "no-utf8", "empty", "pickle"],
)
def test_json_that_is_none_is_named(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=r"x\.json"):
        read_json(path)


def laughs(levels: int) -> str:
    """Each line ten times the one before: a few hundred bytes are 10 ** levels values."""
    lines = ["a0: &a0 x"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels + 1)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/object/new:subprocess.Popen [['true']]",
        "!custom x",
        laughs(12),
        "a: &a [*a]",
        "[" * 3000 + "]" * 3000,
    ],
    ids=["apply", "name", "new", "custom", "laughs", "itself", "deep"],
)
def test_yaml_that_runs_or_explodes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_yaml(text, where="x.yaml")


def test_aliases_that_save_typing_are_welcome() -> None:
    assert parse_yaml("a: &a {b: 1}\nc: *a", where="x.yaml") == {"a": {"b": 1}, "c": {"b": 1}}
