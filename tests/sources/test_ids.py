import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.corpus.sources import part
from pipeline.corpus.sources.fields import language_code
from pipeline.corpus.sources.jsonl import JsonlSource
from pipeline.store.errors import DataError
from tests.sources.conftest import Read

Reader = Callable[..., Read]


def write(path: Path, *rows: dict[str, object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def source(path: Path, name: str = "web", **settings: object) -> JsonlSource:
    return JsonlSource(name=name, paths=(str(path),), **settings)


def test_equal_ids_in_two_files_and_sources_are_two_documents(tmp_path: Path, read: Reader) -> None:
    for name in "ab":
        write(tmp_path / "in" / f"{name}.jsonl", {"id": "1", "text": f"from {name}"})
    result = read(source(tmp_path / "in"), source(tmp_path / "in", name="again"))
    assert list(result.documents) == ["web/a/1", "web/b/1", "again/a/1", "again/b/1"]


def test_ids_of_the_corpus_are_taken_as_they_are(tmp_path: Path, read: Reader) -> None:
    write(tmp_path / "in" / "a.jsonl", {"id": "x", "text": "1"})
    write(tmp_path / "in" / "b.jsonl", {"id": "y", "text": "2"}, {"text": "3"})
    result = read(source(tmp_path / "in", ids="corpus"))
    assert list(result.documents) == ["x", "y", "web/b/1"]


def test_promise_of_unique_ids_is_held_on_every_run(tmp_path: Path, read: Reader) -> None:
    for name in "ab":
        write(tmp_path / "in" / f"{name}.jsonl", {"id": "same", "text": name})
    for _ in range(2):
        with pytest.raises(DataError, match="the id 'same' occurs in two files of source 'web'"):
            read(source(tmp_path / "in", ids="corpus"))
    assert len(read(source(tmp_path / "in")).documents) == 2


def test_number_as_id_never_meets_the_row_of_another(tmp_path: Path, read: Reader) -> None:
    rows = [{"text": "a"}, {"text": "b"}, {"id": "1", "text": "c"}, {"id": "7", "text": "d"}]
    result = read(source(write(tmp_path / "x.jsonl", *rows)))
    assert list(result.documents) == ["web/x/0", "web/x/1", "web/x/1#own", "web/x/7"]


def test_ids_stay_unique_when_memory_for_them_is_full(
    tmp_path: Path, read: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part, "MAX_TRACKED_IDS", 3)
    rows = [{"id": f"{i % 4}", "text": str(i)} for i in range(20)]
    result = read(source(write(tmp_path / "x.jsonl", *rows)))
    assert len(result.documents) == 20


def test_well_known_fields_are_kept_and_normalised(tmp_path: Path, read: Reader) -> None:
    row = {"text": "t", "link": "http://a", "lang": "zho_Hans", "when": 1700000000, "x": None}
    path = write(tmp_path / "x.jsonl", row, {"text": "u", "lang": "Python", "link": 5})
    result = read(
        source(path, url_field="link", language_field="lang", timestamp_field="when",
               metadata_fields=("x",))
    )  # fmt: skip
    first, second = result.metadata.values()
    assert first == {
        "url": "http://a", "language": "zh", "timestamp": "1700000000", "x": None,
        "file": "x.jsonl", "row": 0,
    }  # fmt: skip
    assert second == {"file": "x.jsonl", "row": 1}
    assert result.facts[0]["unknown_languages"] == 1


@pytest.mark.parametrize(
    ("given", "code"),
    [("en", "en"), ("EN-us", "en"), ("cmn_Hani", "zh"), ("deu", "de"), ("Python", None), ("", None),
     ("go", None), (7, None), ("e", None)],
)  # fmt: skip
def test_language_codes_are_of_two_letters_or_none(given: object, code: str | None) -> None:
    assert language_code(given) == code


def test_one_value_json_cannot_hold_costs_itself_only(tmp_path: Path, read: Reader) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "t", "url": "u", "big": 99999999999999999999999}\n')
    result = read(source(path, metadata_fields=("big",)))
    assert result.metadata["web/x/0"]["url"] == "u"
    assert result.metadata["web/x/0"]["row"] == 0


def test_file_and_row_cannot_be_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="says where a row was read"):
        source(tmp_path, metadata_fields=("row",))


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_weights_are_positive_and_finite(tmp_path: Path, weight: float) -> None:
    with pytest.raises(ValidationError):
        source(tmp_path, weight=weight)


def test_weight_is_not_identity(tmp_path: Path, read: Reader) -> None:
    path = write(tmp_path / "x.jsonl", {"text": "t"})
    assert read(source(path, weight=2.5)).fingerprints == read(source(path)).fingerprints
