"""What `datasets` fetches, looked at before it decodes it. Loads `datasets`: import it late.

files of this machine or of the hub -> download -> Parquet? may it be decoded? -> paths
"""

from pathlib import Path
from typing import Any

import datasets

from pipeline.corpus.sources.inputs import InputFile
from pipeline.corpus.sources.parquet_check import refuse_expanding

MAGIC = b"PAR1"  # Parquet's; files fetched from the hub are called by their hash


class CheckedDownloads(datasets.DownloadManager):  # type: ignore[misc]
    """The downloads of one dataset; DataError for Parquet that stands for far more than it is."""

    def __init__(self, builder: Any, ratio: float, *, source: str) -> None:
        config = datasets.DownloadConfig(
            use_etag=False, token=builder.token, storage_options=builder.storage_options
        )
        super().__init__(
            dataset_name=builder.dataset_name, data_dir=builder.config.data_dir,
            download_config=config, base_path=builder.base_path,
        )  # fmt: skip
        self._ratio = ratio
        self._source = source

    def download(self, url_or_urls: Any) -> Any:
        """As the base class; each new file is checked."""
        known = set(self.downloaded_paths.values())
        paths = super().download(url_or_urls)
        for url, path in self.downloaded_paths.items():
            if path not in known and _is_parquet(Path(path)):
                file = InputFile(str(path), Path(str(url)).name)
                refuse_expanding(file, ratio=self._ratio, source=self._source)
        return paths


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as handle:
        return handle.read(len(MAGIC)) == MAGIC
