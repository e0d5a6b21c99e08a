"""A dataset as `datasets` knows it: where it is, how it is loaded; never with code of its own."""

from typing import Any

from pydantic import Field, model_validator

from pipeline.corpus.sources.columns import TableSource
from pipeline.store.errors import DataError
from pipeline.store.memory import DECODED_BYTES, at_most

BUILDERS = ("json", "parquet", "arrow", "csv", "text")


class HubDataset(TableSource):
    """The settings of a dataset and what `datasets` makes of them."""

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

    streaming: bool = Field(
        False,
        title="Streaming",
        description="Read the rows as they arrive instead of converting the dataset on disk first.",
    )

    max_expansion_ratio: float = Field(
        250.0,
        gt=1.0,
        title="Largest expansion",
        description="Decoded over stored bytes above which a Parquet file of the dataset is "
        "refused.",
    )

    @model_validator(mode="after")
    def _data_files_need_a_format(self) -> "HubDataset":
        if self.dataset in BUILDERS and not self.data_files:
            raise ValueError(f"dataset={self.dataset!r} is a format; name the files in data_files")
        return self

    @classmethod
    def not_identity(cls) -> frozenset[str]:
        """Where the rows come from is decided by their content; the limit changes none of them."""
        place = {"dataset", "revision", "subset", "split", "data_files"}
        return super().not_identity() | place | {"max_expansion_ratio"}

    def loaded(self, *, revision: str | None = None) -> Any:
        """What `datasets` makes of it: a Dataset, or an IterableDataset when streaming."""
        # Imported here: a second to load, and needed only by this source.
        import datasets
        import httpx

        from pipeline.corpus.sources.checked_downloads import CheckedDownloads

        arguments: dict[str, Any] = {"name": self.subset}
        if self.data_files:
            arguments["data_files"] = {self.split: list(self.data_files)}
        if (wanted := revision or self.revision) is not None:
            arguments["revision"] = wanted
        try:
            if self.streaming:
                arguments |= {"split": self.split, "streaming": True}
                return datasets.load_dataset(self.dataset, **arguments)
            builder = datasets.load_dataset_builder(self.dataset, **arguments)
            downloads = CheckedDownloads(builder, self.max_expansion_ratio, source=self.name)
            with at_most(DECODED_BYTES):
                builder.download_and_prepare(dl_manager=downloads)
            return builder.as_dataset(split=self.split)
        except (
            OSError, ValueError, RuntimeError, MemoryError, httpx.HTTPError,
            datasets.exceptions.DatasetsError,
        ) as error:  # fmt: skip
            raise DataError(self.explained(error)) from error

    def explained(self, error: BaseException) -> str:
        """What to say when `datasets` gives up, and what to try."""
        while isinstance(error.__cause__, Exception):  # "An error occurred while generating ..."
            error = error.__cause__
        kind = type(error).__name__
        first = (str(error).strip().splitlines() or [""])[0][:300]
        revision = f" at revision {self.revision!r}" if self.revision else ""
        where = f"source {self.name!r}: dataset {self.dataset!r}{revision}, split {self.split!r}"
        return (
            f"{where}, cannot be loaded ({kind}: {first}); if this machine is offline, download it "
            "elsewhere with `datasets.load_dataset(...).save_to_disk(DIRECTORY)` and set `dataset` "
            "to that directory; else check name, subset and split"
        )
