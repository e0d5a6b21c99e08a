"""Hugging Face datasets: by hub name and revision, from local data files, or saved to disk.

    hub name, data files -> datasets.load_dataset -> Arrow files in its cache \\
    dataset saved with save_to_disk -------------------------------------------> one unit per file

The Arrow files are read with pyarrow alone; `datasets` runs only where something must be fetched or
converted. No code that comes with a dataset is ever run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import Field, model_validator

from pipeline.corpus.sources.arrow import parse_arrow
from pipeline.corpus.sources.columns import TableSource
from pipeline.corpus.sources.inputs import InputFile, InputUnit
from pipeline.corpus.sources.part import PartWriter
from pipeline.store.errors import DataError
from pipeline.store.files import write_json
from pipeline.store.fingerprint import digest, short

BUILDERS = ("json", "parquet", "arrow", "csv", "text")


class HuggingFaceSource(TableSource):
    """A data set as `datasets` reads it, on the hub or on this machine."""

    kind: Literal["huggingface"] = "huggingface"
    dataset: str = Field(
        title="Dataset",
        description="Hub name (`owner/name`), a local directory (saved with `save_to_disk`, or "
        "holding data files), or with data_files one of json, parquet, arrow, csv, text.",
        min_length=1,
    )
    revision: str | None = Field(
        None,
        title="Revision",
        description="Commit, tag or branch on the hub; resolved once per root when absent.",
    )
    subset: str | None = Field(None, title="Subset", description="Configuration of the dataset.")
    split: str = Field(
        "train",
        title="Split",
        description="Split to read.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    )
    data_files: tuple[str, ...] = Field(
        (), title="Data files", description="Files or globs, when the dataset is made of them."
    )

    @model_validator(mode="after")
    def _data_files_need_a_format(self) -> "HuggingFaceSource":
        if self.dataset in BUILDERS and not self.data_files:
            raise ValueError(f"dataset={self.dataset!r} is a format; name the files in data_files")
        return self

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Where the rows come from is decided by their content."""
        return super().not_identity() | {"dataset", "revision", "subset", "split", "data_files"}

    def units(self, root: Path) -> list[InputUnit]:
        """One unit per Arrow file."""
        local = Path(self.dataset).expanduser()
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
        """Every row of the unit's Arrow file."""
        for file in unit.files:
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
        # Imported here: a second to load, and needed only by this source, in the parent process.
        import datasets
        import httpx

        arguments: dict[str, Any] = {"split": self.split, "name": self.subset}
        if self.data_files:
            arguments["data_files"] = {self.split: list(self.data_files)}
        if self.revision is not None:
            arguments["revision"] = self.revision
        try:
            loaded = datasets.load_dataset(self.dataset, **arguments)
        except (
            OSError, ValueError, RuntimeError, httpx.HTTPError, datasets.exceptions.DatasetsError
        ) as error:  # fmt: skip
            raise DataError(self._explained(error)) from error
        return [Path(entry["filename"]) for entry in loaded.cache_files]

    def _explained(self, error: Exception) -> str:
        kind = type(error).__name__
        first = (str(error).strip().splitlines() or [""])[0][:300]
        revision = f" at revision {self.revision!r}" if self.revision else ""
        where = f"source {self.name!r}: dataset {self.dataset!r}{revision}, split {self.split!r}"
        return (
            f"{where}, cannot be loaded ({kind}: {first}); if this machine is offline, download it "
            "elsewhere with `datasets.load_dataset(...).save_to_disk(DIRECTORY)` and set `dataset` "
            "to that directory; else check name, subset and split"
        )


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
