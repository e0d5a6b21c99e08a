import json
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from pipeline.corpus.sources.huggingface import HuggingFaceSource
from pipeline.store.errors import DataError
from tests.sources.conftest import Read


@pytest.fixture(autouse=True)
def private_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def source(**settings) -> HuggingFaceSource:
    return HuggingFaceSource(name="hf", **settings)


def rows(count: int) -> datasets.Dataset:
    return datasets.Dataset.from_dict(
        {"id": [f"d{i}" for i in range(count)], "text": [f"text {i}" for i in range(count)]}
    )


def test_saved_dataset_is_read_from_its_arrow_files(tmp_path, read):
    rows(10).save_to_disk(tmp_path / "saved", num_shards=2)
    result = read(source(dataset=str(tmp_path / "saved")))
    assert len(result.parts) == 2
    assert result.documents == {f"hf/train-0000{i // 5}/d{i}": f"text {i}" for i in range(10)}


def test_saved_splits_are_chosen_by_name(tmp_path, read):
    saved = datasets.DatasetDict({"train": rows(3), "test": rows(1)})
    saved.save_to_disk(tmp_path / "saved")
    assert len(read(source(dataset=str(tmp_path / "saved"), split="test")).documents) == 1
    with pytest.raises(DataError, match="no split 'dev'; set split to one of train, test"):
        read(source(dataset=str(tmp_path / "saved"), split="dev"))


def test_incomplete_saved_dataset_is_a_data_error(tmp_path, read):
    rows(3).save_to_disk(tmp_path / "saved")
    next((tmp_path / "saved").glob("data-*.arrow")).unlink()
    with pytest.raises(DataError, match="lacks data-00000-of-00001.arrow"):
        read(source(dataset=str(tmp_path / "saved")))


def test_local_data_files_are_converted_by_datasets(tmp_path, read):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps({"text": f"t{i}"}) + "\n" for i in range(5)))
    first = read(source(dataset="json", data_files=(str(path),)))
    assert list(first.documents.values()) == [f"t{i}" for i in range(5)]
    path.write_text(json.dumps({"text": "changed"}) + "\n")
    second = read(source(dataset="json", data_files=(str(path),)))
    assert list(second.documents.values()) == ["changed"]


def test_directory_of_parquet_is_read_like_a_cloned_dataset(tmp_path, read):
    (tmp_path / "clone" / "data").mkdir(parents=True)
    rows(4).to_parquet(tmp_path / "clone" / "data" / "train-00000-of-00001.parquet")
    assert len(read(source(dataset=str(tmp_path / "clone"))).documents) == 4


def test_offline_hub_is_a_clear_data_error(tmp_path, read, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError) as error:
        read(source(dataset="owner/absent", revision="abc123"))
    for told in ("'owner/absent'", "'abc123'", "'train'", "offline", "save_to_disk"):
        assert told in str(error.value)


def test_hub_answer_is_resolved_once(tmp_path, read, monkeypatch):
    saved = rows(3)
    saved.save_to_disk(tmp_path / "hub")
    calls = []

    class Builder:
        """The hub's answer; what it downloads is not asked for here."""

        token = storage_options = base_path = None
        dataset_name = "data"
        config = SimpleNamespace(data_dir=None)

        def download_and_prepare(self, *, dl_manager: object) -> None:
            assert isinstance(dl_manager, datasets.DownloadManager)

        def as_dataset(self, *, split: str) -> datasets.Dataset:
            return datasets.load_from_disk(tmp_path / "hub")

    def load_dataset_builder(path: str, **arguments: str) -> Builder:
        calls.append((path, arguments["revision"]))
        return Builder()

    monkeypatch.setattr(datasets, "load_dataset_builder", load_dataset_builder)
    first = read(source(dataset="owner/data", revision="main"))
    second = read(source(dataset="owner/data", revision="main"))
    assert (
        first.documents
        == second.documents
        == {f"hf/train-00000/d{i}": f"text {i}" for i in range(3)}
    )
    assert calls == [("owner/data", "main")]


def test_dataset_that_brings_code_is_refused(tmp_path, read):
    folder = tmp_path / "scripted"
    folder.mkdir()
    (folder / "scripted.py").write_text("raise SystemExit('executed')\n")
    with pytest.raises(DataError, match="cannot be loaded"):
        read(source(dataset=str(folder)))


@pytest.mark.parametrize(
    "settings", [{"dataset": "json"}, {"dataset": "x", "split": "train[:10%]"}]
)
def test_ambiguous_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        source(**settings)


def test_truncated_arrow_file_keeps_rows_before_the_break(tmp_path, read):
    rows(3000).save_to_disk(tmp_path / "saved")
    path = next((tmp_path / "saved").glob("data-*.arrow"))
    path.write_bytes(path.read_bytes()[:-9000])
    result = read(source(dataset=str(tmp_path / "saved"), max_bad_fraction=0.5))
    assert result.reasons == ["bad_arrow"]
    assert 0 < len(result.documents) < 3000


def bomb(path: Path, *, megabytes: int = 8, rows: int = 2_000) -> Path:
    """A file of a kilobyte that stands for gigabytes: its dictionary holds one text once."""
    texts = pa.DictionaryArray.from_arrays(
        pa.array([0] * rows, pa.int32()), pa.array(["a" * (megabytes << 20)])
    )
    table = pa.table({"text": texts})
    pq.write_table(
        table, path, compression="zstd", dictionary_pagesize_limit=1 << 30, store_schema=False
    )
    return path


@pytest.mark.parametrize("streaming", [False, True])
def test_parquet_of_few_bytes_that_stands_for_gigabytes_is_refused(
    tmp_path: Path, read: Callable[..., Read], streaming: bool
) -> None:
    path = bomb(tmp_path / "bomb.parquet")
    assert path.stat().st_size < 2_000
    begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"bomb.parquet is not given .* limit 250 times"):
        read(source(dataset="parquet", data_files=(str(path),), streaming=streaming))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun < 400 << 10  # kilobytes
    written = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert written < 1 << 20


def test_a_bomb_in_the_directory_of_a_dataset_is_refused(
    tmp_path: Path, read: Callable[..., Read]
) -> None:
    (tmp_path / "clone" / "data").mkdir(parents=True)
    bomb(tmp_path / "clone" / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match=r"train-00000-of-00001.parquet is not given"):
        read(source(dataset=str(tmp_path / "clone")))


def test_parquet_of_repeated_texts_within_the_limit_is_read(
    tmp_path: Path, read: Callable[..., Read]
) -> None:
    """Its headers could mean gigabytes, so that it is decoded to know."""
    texts = [f"{i % 50} " + "word " * 2_000 for i in range(400)]
    (tmp_path / "text").mkdir()
    path = tmp_path / "text" / "x.parquet"
    pq.write_table(pa.table({"text": texts, "list": [[1, None]] * 400}), path)
    found = read(source(dataset="parquet", data_files=(str(path),))).documents
    assert list(found.values()) == texts


def test_memory_that_a_dataset_may_not_take_is_a_clear_error(
    tmp_path: Path, read: Callable[..., Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bomb(tmp_path / "bomb.parquet", rows=64)  # half a gigabyte
    monkeypatch.setattr("pipeline.corpus.sources.hub.DECODED_BYTES", 100 << 20)
    with pytest.raises(DataError, match="cannot be loaded"):
        read(source(dataset="parquet", data_files=(str(path),), max_expansion_ratio=1e9))
