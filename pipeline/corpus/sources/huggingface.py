"""Hugging Face datasets: by hub name and revision, from local data files, or saved to disk.

    hub name, data files -> datasets.load_dataset -> Arrow files in its cache \\
    dataset saved with save_to_disk -------------------------------------------> one unit per file
    streaming: hub name at a commit, data files -> one unit per shard -> rows, nothing is stored

The Arrow files are read with pyarrow alone; `datasets` runs only where something must be fetched or
converted. No code that comes with a dataset is ever run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import orjson

from pipeline.corpus.sources.arrow import parse_arrow
from pipeline.corpus.sources.hub import BUILDERS, HubDataset
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.part import PartWriter
from pipeline.corpus.sources.streaming import parse_stream, stream_units
from pipeline.store.errors import DataError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import digest, short


class HuggingFaceSource(HubDataset):
    """A data set as `datasets` reads it, on the hub or on this machine."""

    kind: Literal["huggingface"] = "huggingface"

    def units(self, root: Path) -> list[InputUnit]:
        """One unit per Arrow file."""
        local = Path(self.dataset).expanduser()
        if self.streaming:
            return stream_units(self, root)
        if local.is_dir() and (saved := _saved_files(local, self.split, source=self.name)):
            paths = saved
        elif local.is_dir() or self.dataset in BUILDERS:
            paths = self._load()
        else:
            paths = self._resolved(root)
        # Cache files are called by what they hold and their number, not by the cache's own names.
        return [
            InputUnit(
                f"{self.split}-{i:05d}", (InputFile(str(path), f"{self.split}-{i:05d}.arrow"),)
            )
            for i, path in enumerate(paths)
        ]

    def parse(self, unit: InputUnit, writer: PartWriter) -> None:
        """Every row of the unit's Arrow file, or of its shard of the stream."""
        for file in unit.files:
            if file.is_stream:
                parse_stream(self, file, writer)
            else:
                parse_arrow(self, file, writer)

    def _resolved(self, root: Path) -> list[Path]:
        """The hub's answer, asked once: a name or a branch means the same rows on every rerun."""
        asked = [self.dataset, self.revision, self.subset, self.split, list(self.data_files)]
        record = root / "resolved" / f"huggingface-{short(digest(asked))}.json"
        try:
            paths = [Path(path) for path in orjson.loads(record.read_bytes())["files"]]
            if paths and all(path.is_file() for path in paths):
                return paths
        except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
            pass  # not asked yet, or the record is broken: ask
        paths = self._load()
        write_json(record, {"asked": asked, "files": [str(path) for path in paths]})
        return paths

    def _load(self) -> list[Path]:
        """Let `datasets` fetch and convert; returns the Arrow files of its cache."""
        return [Path(entry["filename"]) for entry in self.loaded().cache_files]


def _saved_files(directory: Path, split: str, *, source: str) -> Sequence[Path]:
    """Arrow files of a directory written by `save_to_disk`; empty when it is none."""
    splits = _json(directory / "dataset_dict.json").get("splits")
    if splits:
        if split not in splits:
            raise DataError(
                f"source {source!r}: {directory} has no split {split!r}; set split to one of "
                f"{', '.join(map(str, splits))}"
            )
        directory = directory / split
    files = _json(directory / "state.json").get("_data_files") or []
    paths = [directory / entry["filename"] for entry in files]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            f"source {source!r}: {directory} lacks {', '.join(missing[:5])}, which its state.json "
            "names; copy the dataset again"
        )
    return paths


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return value if isinstance(value, dict) else {}
