import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import datasets
import huggingface_hub
import pytest

from pipeline.corpus.sources.huggingface import HuggingFaceSource
from pipeline.store.errors import DataError
from tests.sources.conftest import Read

Reader = Callable[..., Read]


def write(folder: Path, shards: int, rows: int) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        lines = [
            json.dumps({"id": f"{shard}-{i}", "text": f"text {shard} {i}"}) for i in range(rows)
        ]
        (folder / f"{shard}.jsonl").write_text("\n".join(lines) + "\n")
    return str(folder / "*.jsonl")


def source(**settings: object) -> HuggingFaceSource:
    return HuggingFaceSource(name="hf", streaming=True, **{"max_bad_fraction": 1.0, **settings})


def test_each_shard_of_a_stream_is_a_part(tmp_path: Path, read: Reader) -> None:
    files = write(tmp_path / "in", shards=3, rows=4)
    result = read(source(dataset="json", data_files=(files,)))
    assert len(result.parts) == 3
    assert result.documents["hf/train-00001-of-00003/1-2"] == "text 1 2"
    assert [m["row"] for m in result.metadata.values()] == [0, 1, 2, 3] * 3


def test_changed_file_is_streamed_again_and_an_unchanged_one_is_not(
    tmp_path: Path, read: Reader
) -> None:
    files = write(tmp_path / "in", shards=1, rows=2)
    first = read(source(dataset="json", data_files=(files,))).fingerprints
    assert read(source(dataset="json", data_files=(files,))).fingerprints == first
    write(tmp_path / "in", shards=1, rows=3)
    assert len(read(source(dataset="json", data_files=(files,))).documents) == 3


def test_bad_rows_of_a_stream_are_quarantined(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"text": "good"}\n{"text": null}\n' + json.dumps({"text": "x" * 100}) + "\n"
    )
    result = read(
        source(dataset="json", data_files=(str(tmp_path / "x.jsonl"),), max_text_bytes=50)
    )
    assert list(result.documents.values()) == ["good"]
    assert result.reasons == ["text_not_a_string", "text_too_long"]


def test_damage_in_a_stream_is_one_break(tmp_path: Path, read: Reader) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "good"}\n' * 3)
    (tmp_path / "y.jsonl").write_text('{"text": [[[\n')
    paths = (str(tmp_path / "x.jsonl"), str(tmp_path / "y.jsonl"))
    result = read(source(dataset="json", data_files=paths))
    assert len(result.documents) == 3
    assert result.reasons == ["bad_stream"]


def test_branch_of_the_hub_is_resolved_to_a_commit_once(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path / "in", shards=2, rows=2)
    asked: list[str | None] = []
    streamed: list[str] = []
    load = datasets.load_dataset

    def info(self: object, repository: str, *, revision: str | None = None) -> SimpleNamespace:
        asked.append(revision)
        return SimpleNamespace(sha="c0ffee")

    def load_dataset(path: str, **arguments: object) -> datasets.IterableDataset:
        streamed.append(str(arguments["revision"]))
        return load("json", data_files={"train": [files]}, split="train", streaming=True)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", info)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    for _ in range(2):
        result = read(source(dataset="owner/data", revision="main"))
        assert len(result.documents) == 4
    assert asked == ["main"]
    assert set(streamed) == {"c0ffee"}


def test_unreachable_hub_is_a_data_error(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="'owner/absent'.*offline"):
        read(source(dataset="owner/absent"))
