"""Pictures are drawn once: a run that reuses all artifacts takes them from the run before it.

reports/pictures-<key>/  NAME-light.png  NAME-dark.png
"""

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pipeline.reports.blocks import Picture
from pipeline.reports.facts import RunFacts
from pipeline.store.files import sha256_file, write_bytes
from pipeline.store.fingerprint import digest, short

THEMES = ("light", "dark")


def take_drawn(pictures: Sequence[Picture], run: RunFacts, *, root: Path) -> None:
    """Give `pictures` what was drawn of the same artifacts by the same code; keep what was not."""
    directory = root / "reports" / f"pictures-{short(_key(run))}"
    for picture in pictures:
        for theme in THEMES:
            path = directory / f"{picture.name}-{theme}.png"
            if path.is_file():
                picture.drawn[theme] = path.read_bytes()
            else:
                write_bytes(path, getattr(picture, theme))


def _key(run: RunFacts) -> str:
    artifacts = [artifact.fingerprint for _, artifact in run.artifacts()]
    classes = [artifact.fingerprint for artifact in run.class_evals]
    return digest([artifacts, classes, _code()])


@cache
def _code() -> list[str]:
    """Of the files that draw and of what they draw with."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [*map(sha256_file, files), version("matplotlib")]
